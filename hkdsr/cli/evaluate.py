"""``hkdsr evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from tyro.conf import Positional

from hkdsr.cli.output import show
from hkdsr.errors import HkdsrError

if TYPE_CHECKING:
    from hkdsr.scoring import SetScore


@dataclass(frozen=True)
class Evaluate:
    """Score a network on benchmark sets by the published protocol (PSNR-Y, SSIM-Y)."""

    network: Positional[str]
    """A checkpoint, a shipped network's name, code as FILE.py:NAME:setting=value,..., or 'bicubic'."""
    root: Path
    """Folder that holds the benchmark sets."""
    sets: tuple[str, ...] = ("Set5", "Set14", "B100", "Urban100")
    """Names of the sets' folders."""
    scale: int | None = None
    """Only needed for 'bicubic', and for code that takes a scale."""
    against: str | None = None
    """Another network, mostly the teacher: score the likeness to its images too, after the scores against HR."""
    ensemble: bool = False
    """Average over the 8 flips and rotations (the '+' of published tables)."""
    per_image: bool = False
    """Print the score of every image too."""
    device: str = "auto"
    """``auto`` takes the first GPU if there is one; or cpu, cuda:1 ..."""


def run(arguments: list[str]) -> None:
    """Score a checkpoint, a shipped network or bicubic.

    Raises HkdsrError for a missing network, set or device, and for a scale that is not the network's.
    """
    settings = tyro.cli(Evaluate, prog="hkdsr evaluate", args=arguments)
    from hkdsr.devices import pick_device
    from hkdsr.nets.files.load import load
    from hkdsr.scoring import BICUBIC, scored_sets

    network = None
    if settings.network != BICUBIC:
        network = load(settings.network, settings.scale).to(pick_device(settings.device, "--device"))
        if settings.scale not in (None, network.scale):
            raise HkdsrError(
                f"{settings.network} is a x{network.scale} network: leave scale out or set it to {network.scale}"
            )
    other = None
    if settings.against is not None:
        other = load(settings.against, settings.scale).to(pick_device(settings.device, "--device"))
    place = (settings.sets, settings.root, settings.scale, settings.ensemble)
    scores = scored_sets(network, *place)
    if other is not None:
        scores = chain(scores, scored_sets(network, *place, against=other))
    protocol = ""
    for score in scores:
        if score.protocol != protocol:
            protocol = score.protocol
            show(protocol)
            show(f"{'set':<24}{'PSNR-Y':>10}{'SSIM-Y':>10}")
        for line in _lines(score, settings.per_image):
            show(line)


def _lines(score: SetScore, per_image: bool) -> list[str]:
    lines = []
    if per_image:
        lines += [f"  {image.name:<22}{image.psnr_y:>10.3f}{image.ssim_y:>10.4f}" for image in score.images]
    return [*lines, f"{score.name:<24}{score.psnr_y:>10.3f}{score.ssim_y:>10.4f}"]
