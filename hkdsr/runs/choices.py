"""The folders of images and the recipes that a page offers: those within a folder that it was given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hkdsr.data.images import SUFFIXES

DEEPEST, MOST = 3, 300
"""Folders within folders are looked into so deep, and so many are offered."""
RECIPE = ".toml"

Choice = tuple[str, str]
"""The name relative to the folder, and the path."""


def image_folders(root: Path) -> list[Choice]:
    """The folders in and below ``root`` that hold images."""
    return [
        (folder.relative_to(root).as_posix(), str(folder))
        for folder, files in _folders(root)
        if any(name.lower().endswith(SUFFIXES) for name in files)
    ][:MOST]


def recipes(root: Path) -> list[Choice]:
    """The TOML files in and below ``root``."""
    found = (folder / name for folder, files in _folders(root) for name in sorted(files) if name.endswith(RECIPE))
    return [(path.relative_to(root).as_posix(), str(path)) for path in found][:MOST]


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    for place, folders, files in os.walk(root):
        folder = Path(place)
        deep = len(folder.relative_to(root).parts) >= DEEPEST
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
        yield folder, files
