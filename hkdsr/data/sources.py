"""Finds HR images and their LR partners in the folder shapes that SR data sets come in.

| shape | HR | LR of scale 2 |
| --- | --- | --- |
| plain | any folder of images, or of folders of images | none: made by bicubic reduction |
| DIV2K (Agustsson and Timofte, 2017) | ``DIV2K_train_HR/0001.png`` | ``DIV2K_train_LR_bicubic/X2/0001x2.png`` |
| its sub-images | ``DIV2K_train_HR_sub/0001_s001.png`` | ``DIV2K_train_LR_bicubic/X2_sub/0001_s001.png`` |
| BasicSR | ``GTmod12/baby.png`` | ``LRbicx2/baby.png`` |
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path

from hkdsr.data.images import SUFFIXES
from hkdsr.errors import HkdsrError


@dataclass(frozen=True)
class Pair:
    """An HR image and the LR image that belongs to it; ``lr`` is None where LR is to be made from HR.

    ``name`` is unique among the pairs found together.
    """

    name: str
    hr: Path
    lr: Path | None = None


def find_pairs(folders: Path | Sequence[Path], scale: int) -> list[Pair]:
    """Every HR image in and below ``folders``, sorted by folder and file name, with its LR file where there is one.

    A folder of LR images beside its HR folder is not taken for HR. Names are paths relative to the folders' common
    parent, so equal file names in different folders stay apart; an image reached twice is taken once.

    Raises HkdsrError for a folder that is missing or holds no images, and for an HR folder whose LR folder lacks some
    of its images. Sizes are checked where the images are decoded (``hkdsr.data.store.build_store``).
    """
    roots = [folders] if isinstance(folders, Path) else list(folders)
    if not roots:
        raise HkdsrError("no folder of training images is given: set data.train to one or more folders")
    roots = [root.expanduser().resolve() for root in roots]
    found: dict[Path, Path | None] = {}
    for root in roots:
        if not root.is_dir():
            raise HkdsrError(f"there is no folder {root}: set data.train to a folder of images")
        below = {hr: lr for folder in _hr_folders(root) for hr, lr in _matched(folder, scale)}
        if not below:
            raise HkdsrError(f"{root} holds no images: set data.train to a folder with PNG, JPEG, WebP or BMP files")
        found |= below
    parent = Path(os.path.commonpath(roots))
    return [Pair(hr.relative_to(parent).as_posix(), hr, lr) for hr, lr in found.items()]


def spread(pairs: Sequence[Pair], share: float) -> list[Pair]:
    """A ``share`` (0 to 1) of the pairs, evenly spread over their order.

    Raises HkdsrError if that leaves none.
    """
    exact = Fraction(str(share))  # as it is written: products of the binary number round to either side
    kept = [pair for index, pair in enumerate(pairs) if floor((index + 1) * exact) > floor(index * exact)]
    if not kept:
        raise HkdsrError(f"data.share is {share}, which leaves none of {len(pairs)} images: raise it")
    return kept


def _hr_folders(folder: Path) -> Iterator[Path]:
    yield folder
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    reduced = tuple(prefix for child in children if (prefix := _lr_prefix(child.name)) is not None)
    for child in children:
        if not child.name.startswith(reduced):
            yield from _hr_folders(child)


def _lr_prefix(hr_folder: str) -> str | None:
    """How the names of LR folders beside this HR folder begin; None if the name does not say that it is HR."""
    if hr_folder.startswith("GT"):
        return "LR"
    named = re.fullmatch(r"(.*_)?HR(_.+)?", hr_folder)
    return f"{named[1] or ''}LR" if named else None


def _lr_folder(hr_folder: Path, scale: int) -> Path | None:
    prefix = _lr_prefix(hr_folder.name)
    if prefix is None:
        return None
    if hr_folder.name.startswith("GT"):
        candidates = [f"{prefix}bicx{scale}", f"{prefix}bicX{scale}"]
    else:
        variant = hr_folder.name.rpartition("HR")[2]
        candidates = [f"{prefix}_bicubic/X{scale}{variant}", f"{prefix}/X{scale}{variant}"]
    existing = (hr_folder.parent / candidate for candidate in candidates)
    return next((folder for folder in existing if folder.is_dir()), None)


def _matched(hr_folder: Path, scale: int) -> Iterator[tuple[Path, Path | None]]:
    images = _directly_in(hr_folder)
    lr_folder = _lr_folder(hr_folder, scale)
    if lr_folder is None:
        yield from ((hr, None) for hr in images)
        return
    reduced = {path.stem: path for path in _directly_in(lr_folder)}
    for hr in images:
        lr = reduced.get(f"{hr.stem}x{scale}") or reduced.get(hr.stem)
        if lr is None:
            raise HkdsrError(
                f"{lr_folder} has no LR image for {hr}: add {hr.stem}x{scale}.png, "
                "or rename that LR folder to have LR made from HR"
            )
        yield hr, lr


def _directly_in(folder: Path) -> list[Path]:
    """Like ``list_images``, but a folder may hold none: its folders may."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in files if not path.name.startswith("."))
