"""Scores on benchmark sets by the protocol of SR papers, in whichever of the usual folder shapes they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from tqdm import tqdm

from hkdsr.data.images import SUFFIXES, image_files, rgb
from hkdsr.data.partners import HR_NAME, hr_folders, matching, paired
from hkdsr.data.resize import bicubic_pair, imresize
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import load
from hkdsr.scoring.inference import super_resolve
from hkdsr.scoring.metrics import WINDOW, psnr_y, ssim_y

# What a command calls bicubic enlargement where it could name a network.
BICUBIC = "bicubic"
# One set of 100 test images of BSDS300 goes by three names.
ALIASES = ({"B100", "BSD100", "BSDS100"},)
HR_FOLDERS = ("HR", "GTmod12", "GT", "image_SRF_{scale}")


@dataclass(frozen=True)
class ImageScore:
    """PSNR in dB and SSIM on Y of one image."""

    name: str
    psnr_y: float
    ssim_y: float


@dataclass(frozen=True)
class SetScore:
    """The scores of a set image by image, and the sentence that says how they were taken."""

    name: str
    protocol: str
    images: tuple[ImageScore, ...]

    @property
    def psnr_y(self) -> float:
        """Mean of the images' PSNRs in dB."""
        return fmean(image.psnr_y for image in self.images)

    @property
    def ssim_y(self) -> float:
        """Mean of the images' SSIMs."""
        return fmean(image.ssim_y for image in self.images)


@dataclass(frozen=True)
class Benchmark:
    """A set found on disk for one scale: its HR images, and the LR images if they came along."""

    name: str
    folder: Path
    scale: int
    hr: tuple[Path, ...]
    lr: tuple[Path, ...] | None

    def __len__(self) -> int:
        return len(self.hr)

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """LR (h, w, 3) and HR (scale*h, scale*w, 3), uint8 RGB; grey images have three equal channels.

        Raises HkdsrError if an image cannot be read, is too small to score, or if LR and HR do not belong together.
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
        """The LR folder as it is shown, relative to the set's folder; None where LR is made."""
        if self.lr is None:
            return None
        folder = self.lr[0].parent
        return folder.relative_to(self.folder).as_posix() if folder.is_relative_to(self.folder) else str(folder)


def protocol(scale: int, ensemble: bool = False, lr_source: str | None = None) -> str:
    """The sentence that goes with every score: all that makes numbers comparable or not.

    ``lr_source`` names the folder of the LR files; None where LR is made from HR.
    """
    made = f"HR cut to a multiple of {scale}, LR by MATLAB's 8-bit bicubic"
    return (
        f"x{scale}: {f'LR files of {lr_source}' if lr_source else made}; SR rounded to 8 bits; PSNR and SSIM on "
        f"unrounded BT.601 Y (16..235), {scale} pixels cropped a side, mean over images; "
        f"{'self-ensemble x8' if ensemble else 'no self-ensemble'}"
    )


def find_benchmark(folder: str | Path, scale: int) -> Benchmark:
    """Find a set's images for one scale; the folder of B100 may also be called BSD100 or BSDS100.

    LR files in one of the shapes of ``hkdsr.data.partners`` are used, else LR is made.

    Raises HkdsrError if there is no such folder, naming what there is beside it, or no image in it, or if the LR
    folder lacks images.
    """
    folder = _called_any_name(Path(folder))
    images = paired(_hr_folder(folder, scale), scale)
    if not images.hr:
        raise HkdsrError(f"{folder} has no HR image for x{scale}: name a folder with {', '.join(SUFFIXES)} files")
    return Benchmark(folder.name, folder, scale, images.hr, images.lr)


def evaluate_set(
    network: Network | None, folder: str | Path, scale: int, *, ensemble: bool = False, progress: bool = True
) -> SetScore:
    """Score ``network``, or bicubic enlargement for None, on the set in ``folder``.

    Whole images run on the network's device in its precision. ``ensemble`` averages over the eight flips and turns.
    ``progress`` shows a bar, on a terminal only. Raises HkdsrError for another scale than the network's, and as
    ``find_benchmark`` and ``Benchmark.pair`` do.
    """
    if network is not None and network.scale != scale:
        raise HkdsrError(f"the network enlarges x{network.scale}, not x{scale}: set the scale to {network.scale}")
    benchmark = find_benchmark(folder, scale)
    scores = []
    bar = tqdm(range(len(benchmark)), benchmark.name, leave=False, disable=None if progress else True)
    for index in bar:
        lr, hr = benchmark.pair(index)
        sr = imresize(lr, scale) if network is None else super_resolve(network, lr, ensemble=ensemble)
        scores.append(ImageScore(benchmark.hr[index].stem, psnr_y(sr, hr, scale), ssim_y(sr, hr, scale)))
    ensemble = ensemble and network is not None
    return SetScore(benchmark.name, protocol(scale, ensemble, benchmark.lr_source), tuple(scores))


def evaluate(
    network: Network | str | Path | None,
    sets: str | Path | Sequence[str | Path],
    root: str | Path = ".",
    scale: int | None = None,
    ensemble: bool = False,
) -> list[SetScore]:
    """Score a network, or what ``hkdsr.load`` makes of a file or name, on sets under ``root``; None is bicubic.

    ``sets`` is one set's name or several. Bicubic needs a ``scale``; networks have their own. Raises HkdsrError as
    ``evaluate_set`` does, and before any image is scored if one of the sets is missing.
    """
    return list(scored_sets(network, sets, root, scale, ensemble))


def scored_sets(
    network: Network | str | Path | None,
    sets: str | Path | Sequence[str | Path],
    root: str | Path = ".",
    scale: int | None = None,
    ensemble: bool = False,
) -> Iterator[SetScore]:
    """As ``evaluate``, which checks all at once, but each set's score comes as soon as it is known."""
    if isinstance(network, str | Path):
        network = load(network)
    if scale is None:
        if network is None:
            raise HkdsrError("the scale of bicubic is not set: set scale to 2, 3 or 4")
        scale = network.scale
    if scale < 2:
        raise HkdsrError(f"scale is {scale}: set it to 2, 3 or 4")
    if not sets:
        raise HkdsrError("sets is empty: name at least one set")
    folders = [Path(root) / name for name in ([sets] if isinstance(sets, str | Path) else sets)]
    for folder in folders:
        find_benchmark(folder, scale)
    return (evaluate_set(network, folder, scale, ensemble=ensemble) for folder in folders)


def _hr_folder(folder: Path, scale: int) -> Path:
    """The folder of HR images in the set's folder, or that itself if the images lie directly in it."""
    for name in HR_FOLDERS:
        if (folder / name.format(scale=scale)).is_dir():
            return folder / name.format(scale=scale)
    named = (path for path in hr_folders(folder) if path != folder and HR_NAME.fullmatch(path.name))
    return folder if image_files(folder) else next(named, folder)


def _called_any_name(folder: Path) -> Path:
    names = next((names for names in ALIASES if folder.name in names), {folder.name})
    for name in (folder.name, *sorted(names)):
        if (folder.parent / name).is_dir():
            return folder.parent / name
    beside = sorted(path.name for path in folder.parent.glob("*/")) if folder.parent.is_dir() else []
    if not beside:
        raise HkdsrError(f"there is no benchmark set {folder}: {folder.parent} holds none, so name another root folder")
    raise HkdsrError(f"there is no benchmark set {folder}: name one of {', '.join(beside)}, or another root folder")
