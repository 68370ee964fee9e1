"""Which LR files belong to which HR images, in the folder shapes that SR data sets come in.

| shape | HR | LR of scale 2 |
| --- | --- | --- |
| plain | any folder of images, or of folders of images | none: made by bicubic reduction |
| pairs | ``HR/1.png`` or ``GT/1.png`` | ``LR/1.png``, ``LQ/1.png``, ``LR/X2/1x2.png`` |
| DIV2K, and its other degradations | ``DIV2K_train_HR/0001.png`` | ``DIV2K_train_LR_bicubic/X2/0001x2.png`` |
| its sub-images | ``DIV2K_train_HR_sub/0001_s001.png`` | ``DIV2K_train_LR_bicubic/X2_sub/0001_s001.png`` |
| BasicSR | ``GTmod12/baby.png`` | ``LRbicx2/baby.png`` |
| SelfExSR | ``image_SRF_2/img_001_SRF_2_HR.png`` | ``image_SRF_2/img_001_SRF_2_LR.png`` |
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hkdsr.data.images import SUFFIXES, image_files
from hkdsr.errors import HkdsrError
from hkdsr.paths import entries, is_folder, leads_nowhere

logger = logging.getLogger(__name__)

HR_NAME = re.compile(r"(?P<prefix>.*[_-])?(?:HR|GT)(?:mod\d+)?(?P<variant>[_-].+)?", re.IGNORECASE)
LR_NAME = re.compile(r"(?P<prefix>.*[_-])?(?:LR|LQ)(?P<rest>.*)", re.IGNORECASE)
SCALE_MARK = re.compile(r"x(\d+)", re.IGNORECASE)
OF_THE_SYSTEM = {"@eadir", "#recycle", "$recycle.bin", "__macosx", "system volume information"}
"""Folders of thumbnails and deleted files, which network drives, Windows and macOS put among images."""
SELFEXSR = re.compile(r"(?P<start>.*_SRF_(?P<scale>\d+)_)HR")


@dataclass(frozen=True)
class ImageSet:
    """The HR images of one folder, and their LR files in the same order; ``lr`` is None where LR is to be made."""

    hr: tuple[Path, ...]
    lr: tuple[Path, ...] | None = None


def hr_folders(root: Path) -> Iterator[Path]:
    """``root`` and all folders below it that may hold HR images, each once however it is linked.

    A folder of LR images beside its HR folder is left out.
    """
    yield from _hr_folders(root, set())


def paired(hr_folder: Path, scale: int, lr_folder: Path | None = None) -> ImageSet:
    """The images directly in ``hr_folder`` with the LR files for ``scale`` of ``lr_folder``, or of the one beside it.

    Where there are several, bicubic reductions are preferred. Raises HkdsrError if an LR file is missing.
    """
    images = image_files(hr_folder)
    if lr_folder is None and (together := _selfexsr(images, scale)) is not None:
        return together
    lr_folder = lr_folder or next(iter(_lr_folders(hr_folder, scale)), None)
    if lr_folder is None or not images:
        return ImageSet(tuple(images))
    by_name = {path.stem.lower(): path for path in image_files(lr_folder)}
    return ImageSet(tuple(images), tuple(_partner(hr, by_name, scale, lr_folder) for hr in images))


def matching(hr: np.ndarray, lr: np.ndarray, scale: int, hr_file: Path, lr_file: Path) -> np.ndarray:
    """The part of ``hr`` (H, W, 3) that belongs to ``lr`` (H // scale, W // scale, 3).

    Raises HkdsrError, naming the files, if the sizes do not fit.
    """
    height, width = lr.shape[:2]
    sizes = f"{lr_file} has {width}x{height} pixels and {hr_file} {hr.shape[1]}x{hr.shape[0]}"
    if height > hr.shape[0] and width > hr.shape[1]:
        raise HkdsrError(f"{sizes}: HR and LR look swapped, so exchange them")
    if (height, width) != (hr.shape[0] // scale, hr.shape[1] // scale):
        raise HkdsrError(
            f"{sizes}, which at scale {scale} needs LR of {hr.shape[1] // scale}x{hr.shape[0] // scale}: correct the "
            "LR file, set scale to that of the pair, or move the LR folder away to have LR made from HR"
        )
    return hr[: height * scale, : width * scale]


def _hr_folders(folder: Path, seen: set[Path]) -> Iterator[Path]:
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    try:
        inside = [path for path in entries(folder) if not path.name.startswith(".")]
        children = [path for path in inside if is_folder(path) and path.name.lower() not in OF_THE_SYSTEM]
    except HkdsrError as error:
        if len(seen) == 1:  # the folder that was named
            raise
        logger.warning("left out: %s", error)
        return
    for path in inside:
        if leads_nowhere(path) and path.suffix.lower() not in SUFFIXES:
            logger.warning("left out: %s is a link to something that is gone", path)
    yield folder
    prefixes = {named["prefix"] for child in children if (named := HR_NAME.fullmatch(child.name))}
    for child in children:
        named = LR_NAME.fullmatch(child.name)
        if not (named and named["prefix"] in prefixes):
            yield from _hr_folders(child, seen)


def _lr_folders(hr_folder: Path, scale: int) -> list[Path]:
    """The folders beside ``hr_folder`` with LR images of ``scale``: bicubic ones first, then by name."""
    named = HR_NAME.fullmatch(hr_folder.name)
    if named is None:
        return []
    beside = (path for path in entries(hr_folder.parent) if is_folder(path))
    found = [place for folder in beside for place in _lr_places(folder, named, scale, deeper=True)]
    return sorted(found, key=lambda path: ("bic" not in str(path.relative_to(hr_folder.parent)).lower(), path))


def _lr_places(folder: Path, hr: re.Match[str], scale: int, deeper: bool) -> Iterator[Path]:
    named = LR_NAME.fullmatch(folder.name)
    if named is None or named["prefix"] != hr["prefix"]:
        return
    mark = SCALE_MARK.search(named["rest"])
    if mark and int(mark[1]) != scale:
        return
    children = [path for path in entries(folder) if is_folder(path)]
    by_scale = [path for path in children if re.fullmatch(r"x\d+([_-].+)?", path.name, re.IGNORECASE)]
    if by_scale:
        wanted = f"x{scale}{hr['variant'] or ''}".lower()
        yield from (path for path in by_scale if path.name.lower() == wanted and image_files(path))
    elif image_files(folder):
        yield folder
    elif deeper:
        # The archives of DIV2K unpack to a folder of the same name in one that tells the scale.
        for child in children:
            yield from _lr_places(child, hr, scale, deeper=False)


def _partner(hr: Path, by_name: dict[str, Path], scale: int, lr_folder: Path) -> Path:
    name = re.compile(rf"{re.escape(hr.stem.lower())}([_-]?x{scale}[a-z]?)?")
    found = next((by_name[stem] for stem in sorted(by_name, key=len, reverse=True) if name.fullmatch(stem)), None)
    if found is None:
        raise HkdsrError(
            f"{lr_folder} has no LR file for {hr}: add {hr.stem}x{scale}.png, or move that folder away to have LR made "
            "from HR"
        )
    return found


def _selfexsr(images: Sequence[Path], scale: int) -> ImageSet | None:
    """HR and LR of one folder, told apart by the ends of their names; None if the folder is not such a one."""
    named = [(path, match) for path in images if (match := SELFEXSR.fullmatch(path.stem))]
    if not named:
        return None
    hr = tuple(path for path, match in named if int(match["scale"]) == scale)
    by_stem = {path.stem: path for path in images}
    lr = [by_stem.get(f"{match['start']}LR") for path, match in named if path in hr]
    found = tuple(path for path in lr if path)
    return ImageSet(hr, found if len(found) == len(hr) else None)
