"""Scores on benchmark sets by the protocol of SR papers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from tqdm import tqdm

from hkdsr.errors import HkdsrError
from hkdsr.memory import CUT, needed_for
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import load
from hkdsr.nets.sanity import name_of
from hkdsr.paths import user_path
from hkdsr.scoring.benchmark import find_benchmark
from hkdsr.scoring.inference import upscaled
from hkdsr.scoring.metrics import psnr_y, ssim_y

BICUBIC = "bicubic"
"""What commands take in place of a network to score bicubic enlargement."""


@dataclass(frozen=True)
class ImageScore:
    """PSNR in dB and SSIM on Y of one image."""

    name: str
    psnr_y: float
    ssim_y: float


@dataclass(frozen=True)
class SetScore:
    """The scores of every image of a set, and the protocol by which they were measured."""

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


def score_image(name: str, sr: np.ndarray, hr: np.ndarray, scale: int) -> ImageScore:
    """Score SR against HR, both uint8 RGB (H, W, 3)."""
    return ImageScore(name, psnr_y(sr, hr, scale), ssim_y(sr, hr, scale))


def protocol(scale: int, ensemble: bool = False, lr_source: str | None = None, against: Network | None = None) -> str:
    """How scores are measured, in one sentence: only scores with the same protocol can be compared.

    ``lr_source`` names the folder of the LR files; None where LR is made from HR. ``against`` is the network whose
    images take the place of HR, if any.
    """
    fidelity = f"; to the images of {name_of(against)} and not to HR: fidelity, not quality" if against else ""
    made = f"HR cut to a multiple of {scale}, LR by MATLAB's 8-bit bicubic" if scale > 1 else "LR is HR"
    return (
        f"x{scale}: {f'LR files of {lr_source}' if lr_source else made}; SR rounded to 8 bits; PSNR and SSIM on "
        f"unrounded BT.601 Y (16..235), {scale} pixels cropped a side, mean over images; "
        f"{'self-ensemble x8' if ensemble else 'no self-ensemble'}{fidelity}"
    )


def evaluate_set(
    network: Network | None,
    folder: str | Path,
    scale: int,
    *,
    ensemble: bool = False,
    progress: bool = True,
    against: Network | None = None,
) -> SetScore:
    """Score ``network``, or bicubic enlargement for None, on the set in ``folder``.

    Images run as in ``super_resolve``, whole where memory suffices. ``ensemble`` averages over the eight flips and
    rotations. ``progress`` shows a progress bar, on a terminal only. The images of ``against``, if given, take the
    place of HR, so that the scores tell the likeness to that network. Raises HkdsrError for a scale that is not the
    network's, for a lack of memory, and as ``find_benchmark`` and ``Benchmark.pair`` do.
    """
    for one in (network, against):
        if one is not None and one.scale != scale:
            raise HkdsrError(f"the network is a x{one.scale} network: set the scale to {one.scale}")
    benchmark = find_benchmark(folder, scale)
    scores = []
    bar = tqdm(range(len(benchmark)), benchmark.name, leave=False, disable=None if progress else True)
    for index in bar:
        path = benchmark.hr[index]
        with needed_for(str(path), CUT):
            lr, hr = benchmark.pair(index)
            sr = upscaled(network, lr, scale, ensemble=ensemble, name=path)
            hr = hr if against is None else upscaled(against, lr, scale, name=path)
            scores.append(score_image(path.stem, sr, hr, scale))
    ensemble = ensemble and network is not None
    return SetScore(benchmark.name, protocol(scale, ensemble, benchmark.lr_source, against), tuple(scores))


def evaluate(
    network: Network | str | Path | None,
    sets: str | Path | Sequence[str | Path],
    root: str | Path = ".",
    scale: int | None = None,
    ensemble: bool = False,
    against: Network | None = None,
) -> list[SetScore]:
    """Score a network, or a file or name that ``hkdsr.load`` takes, on sets in the folder ``root``; None is bicubic.

    ``sets`` is the name of one set or of several. Bicubic needs a ``scale``; networks have their own. ``against`` gives
    the images that are compared with in place of HR, as a teacher does. Raises HkdsrError
    as ``evaluate_set`` does, and before any image is scored if one of the sets is missing.
    """
    if isinstance(network, str | Path):
        network = load(network)
    names = [sets] if isinstance(sets, str | Path) else sets
    return list(scored_sets(network, names, root, scale, ensemble, against))


def scored_sets(
    network: Network | None,
    sets: Sequence[str | Path],
    root: str | Path,
    scale: int | None,
    ensemble: bool,
    against: Network | None = None,
) -> Iterator[SetScore]:
    """The same as an iterator: the sets are looked for at once, and each score is given as soon as it is known."""
    if scale is None:
        if network is None:
            raise HkdsrError("the scale of bicubic is not set: set scale to 2, 3, 4 or 8")
        scale = network.scale
    if scale < (2 if network is None else 1):
        raise HkdsrError(f"scale is {scale}: set it to 2, 3, 4 or 8")
    if not sets:
        raise HkdsrError("sets is empty: name at least one set")
    folders = [user_path(root) / name for name in sets]
    for folder in folders:
        find_benchmark(folder, scale)
    return (evaluate_set(network, folder, scale, ensemble=ensemble, against=against) for folder in folders)
