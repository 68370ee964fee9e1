"""Benchmark sets on disk, in whichever of the usual folder layouts they come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hkdsr.data.images import SUFFIXES, image_files, rgb
from hkdsr.data.partners import HR_NAME, hr_folders, matching, paired
from hkdsr.data.resize import bicubic_pair
from hkdsr.errors import HkdsrError
from hkdsr.paths import entries, is_folder
from hkdsr.scoring.metrics import WINDOW

# A set of 100 test images of BSDS300 has three names.
ALIASES = ({"B100", "BSD100", "BSDS100"},)
HR_FOLDERS = ("HR", "GTmod12", "GT", "image_SRF_{scale}")


@dataclass(frozen=True)
class Benchmark:
    """A set found on disk for one scale: its HR images, and its LR images where it has them."""

    name: str
    folder: Path
    scale: int
    hr: tuple[Path, ...]
    lr: tuple[Path, ...] | None

    def __len__(self) -> int:
        return len(self.hr)

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """LR (h, w, 3) and HR (scale*h, scale*w, 3), uint8 RGB; grey images have three equal channels.

        Raises HkdsrError if an image cannot be read, is too small to score, or if LR and HR do not match.
        """
        hr, scale = rgb(self.hr[index]), self.scale
        if min(hr.shape[:2]) < WINDOW + 2 * scale:
            raise HkdsrError(f"{self.hr[index]} is too small to score at x{scale}: remove it from the set")
        if self.lr is None:
            return bicubic_pair(hr, scale)
        lr = rgb(self.lr[index])
        return lr, matching(hr, lr, scale, self.hr[index], self.lr[index])

    @property
    def lr_source(self) -> str | None:
        """The LR folder relative to the set's folder, as the protocol names it; None where LR is made."""
        if self.lr is None:
            return None
        folder = self.lr[0].parent
        return folder.relative_to(self.folder).as_posix() if folder.is_relative_to(self.folder) else str(folder)


def find_benchmark(folder: str | Path, scale: int) -> Benchmark:
    """Find a set's images for one scale; the folder of B100 may also be called BSD100 or BSDS100.

    LR files in one of the layouts of ``hkdsr.data.partners`` are used; without them LR is made by MATLAB bicubic.

    Raises HkdsrError if the folder is missing, which names the folders beside it, or has no image, or if an LR image is
    missing.
    """
    folder = _under_any_alias(Path(folder))
    images = paired(_hr_folder(folder, scale), scale)
    if not images.hr:
        raise HkdsrError(f"{folder} has no HR image for x{scale}: name a folder with {', '.join(SUFFIXES)} files")
    return Benchmark(folder.name, folder, scale, images.hr, images.lr)


def _hr_folder(folder: Path, scale: int) -> Path:
    """The folder of the HR images: one inside the set's folder, or that itself."""
    for name in HR_FOLDERS:
        if is_folder(folder / name.format(scale=scale)):
            return folder / name.format(scale=scale)
    named = (path for path in hr_folders(folder) if path != folder and HR_NAME.fullmatch(path.name))
    return folder if image_files(folder) else next(named, folder)


def _under_any_alias(folder: Path) -> Path:
    names = next((names for names in ALIASES if folder.name in names), {folder.name})
    for name in (folder.name, *sorted(names)):
        if is_folder(folder.parent / name):
            return folder.parent / name
    beside = [path.name for path in entries(folder.parent) if is_folder(path)] if is_folder(folder.parent) else []
    if not beside:
        raise HkdsrError(f"there is no benchmark set {folder}: {folder.parent} has none, so name another root folder")
    raise HkdsrError(f"there is no benchmark set {folder}: name one of {', '.join(beside)}, or another root folder")
