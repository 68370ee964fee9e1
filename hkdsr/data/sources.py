"""The training images: every HR image below the folders named, with its LR file if there is one; or LR images alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path

from hkdsr.data.images import image_files
from hkdsr.data.partners import hr_folders, paired
from hkdsr.errors import HkdsrError
from hkdsr.paths import is_folder, user_path

NAMED = 2


@dataclass(frozen=True)
class Pair:
    """An HR image and the LR image that belongs to it.

    ``lr`` is None where LR is to be made from HR, ``hr`` where there is LR alone.

    ``name`` is unique among the pairs found together.
    """

    name: str
    hr: Path | None
    lr: Path | None = None

    @property
    def file(self) -> Path:
        """The HR file, or the LR file where there is no HR."""
        file = self.hr or self.lr
        assert file is not None
        return file


def find_pairs(
    folders: Path | Sequence[Path], scale: int, lr: Sequence[Path] = (), lr_only: bool = False
) -> list[Pair]:
    """Every HR image in and below ``folders``, sorted by folder and file name, with its LR file where there is one.

    ``lr`` names a folder of LR files for each of ``folders``, with the same folders inside; without it they are looked
    for in the shapes of ``hkdsr.data.partners``. Names are paths relative to the folders' common parent, so equal file
    names in different folders stay apart; an image reached twice, by links too, is taken once. With ``lr_only`` all
    these images are LR and there is no HR.

    Raises HkdsrError for a folder that is missing or has no images, and for an LR folder that lacks files. Sizes are
    checked where the images are decoded (``hkdsr.data.store.build_store``).
    """
    roots = [folders] if isinstance(folders, Path) else list(folders)
    if not roots:
        raise HkdsrError("no folder of training images is given: set data.train to one or more folders")
    if lr and len(lr) != len(roots):
        raise HkdsrError(f"data.lr has {len(lr)} folders and data.train {len(roots)}: give one LR folder for each")
    roots = [_folder(root, "data.train") for root in roots]
    lr_roots = [_folder(root, "data.lr") for root in lr] or [None] * len(roots)
    found: dict[Path, tuple[Path, Path | None]] = {}
    for root, lr_root in zip(roots, lr_roots, strict=True):
        below = [(path, path) for path in images_below(root)] if lr_only else _below(root, lr_root, scale)
        if not below:
            raise HkdsrError(f"{root} has no images: set data.train to a folder with PNG, JPEG, WebP or TIFF files")
        for hr, partner in below:
            found.setdefault(hr.resolve(), (hr, partner))
    parent = Path(os.path.commonpath(roots))
    return [
        Pair(image.relative_to(parent).as_posix(), None if lr_only else image, partner)
        for image, partner in found.values()
    ]


def images_below(root: Path) -> list[Path]:
    """Every image in and below ``root``, sorted by folder and file name, without folders of LR images beside HR."""
    return [path for folder in hr_folders(root) for path in image_files(folder)]


def described(pairs: Sequence[Pair]) -> str:
    """How many images there are, and where their LR comes from: ``2 images, 2 LR files found in LR_bicubic/X2``."""
    count = f"{len(pairs)} image{'s' * (len(pairs) != 1)}"
    files = [pair.lr for pair in pairs if pair.lr]
    if all(pair.hr is None for pair in pairs):
        return f"{count} that are LR, without HR"
    if not files:
        return f"{count}, LR made by bicubic"
    folders = list(dict.fromkeys(f"{path.parent.parent.name}/{path.parent.name}" for path in files))
    where = ", ".join(folders[:NAMED]) + (f" and {len(folders) - NAMED} more" if len(folders) > NAMED else "")
    rest = f", LR of the other {len(pairs) - len(files)} made by bicubic" if len(files) < len(pairs) else ""
    return f"{count}, {len(files)} LR file{'s' * (len(files) != 1)} found in {where}{rest}"


def spread(pairs: Sequence[Pair], share: float) -> list[Pair]:
    """A ``share`` (0 to 1) of the pairs, evenly spread over their order.

    Raises HkdsrError if that leaves none.
    """
    exact = Fraction(str(share))  # as it is written: products of the binary number round to either side
    kept = [pair for index, pair in enumerate(pairs) if floor((index + 1) * exact) > floor(index * exact)]
    if not kept:
        raise HkdsrError(f"data.share is {share}, which leaves none of {len(pairs)} images: raise it")
    return kept


def _folder(path: Path, setting: str) -> Path:
    folder = Path(os.path.abspath(user_path(path)))
    if not is_folder(folder):
        raise HkdsrError(f"there is no folder {folder}: set {setting} to a folder of images")
    return folder


def _below(root: Path, lr_root: Path | None, scale: int) -> list[tuple[Path, Path | None]]:
    pairs: list[tuple[Path, Path | None]] = []
    for folder in hr_folders(root):
        images = paired(folder, scale, lr_root and lr_root / folder.relative_to(root))
        pairs += zip(images.hr, images.lr or [None] * len(images.hr), strict=True)
    return pairs
