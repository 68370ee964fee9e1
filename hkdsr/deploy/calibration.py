"""Real LR crops on which the ranges of 8-bit numbers are found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hkdsr.data import imresize, rgb
from hkdsr.data.embedded import demo_files
from hkdsr.data.sources import images_below
from hkdsr.errors import HkdsrError
from hkdsr.nets.files.load import metadata
from hkdsr.paths import is_folder, user_path

CROPS = 40
SIDE = 64
"""LR pixels."""


def calibration_crops(scale: int, sources: Sequence[str | Path] = ()) -> list[np.ndarray]:
    """40 LR crops, uint8 (h, w, 3) with sides of 64 or what an image has, always the same, spread over the images.

    ``sources`` are HR images and folders of them, by default the demo's photographs for training. Raises HkdsrError if
    there are none.
    """
    files = _files(sources) if sources else list(demo_files()[0].values())
    random = np.random.default_rng(0)
    # Evenly over the images: each one several times, or a part of them.
    return [_crop(rgb(files[index * len(files) // CROPS]), scale, random) for index in range(CROPS)]


def training_folders(network: str | Path) -> tuple[Path, ...]:
    """The folders of training images that the file of a student names, as far as they still are there."""
    try:
        folders = json.loads(json.loads(metadata(network)["recipe"])["data.train"])
        return tuple(path for path in map(Path, folders) if is_folder(path))
    except (LookupError, ValueError, TypeError):
        return ()


def _files(sources: Sequence[str | Path]) -> list[Path]:
    files: list[Path] = []
    for source in map(user_path, sources):
        found = images_below(source) if is_folder(source) else [source]
        if not found:
            raise HkdsrError(f"{source} has no images: name HR images or folders of them for --calibration")
        files += found
    return files


def _crop(hr: np.ndarray, scale: int, random: np.random.Generator) -> np.ndarray:
    side = SIDE * scale
    height, width = (min(side, extent // scale * scale) for extent in hr.shape[:2])
    if not height or not width:
        raise HkdsrError(f"an image for calibration has {hr.shape[1]}x{hr.shape[0]} pixels: use larger ones")
    top, left = (
        int(random.integers(extent - size + 1)) for extent, size in zip(hr.shape[:2], (height, width), strict=True)
    )
    return imresize(hr[top : top + height, left : left + width], 1 / scale)
