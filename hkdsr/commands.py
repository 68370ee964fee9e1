"""What ``hkdsr evaluate``, ``hkdsr strip`` and ``hkdsr info`` print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hkdsr.data import Picture, check_target, write_picture
from hkdsr.deploy.export import export as export_onnx
from hkdsr.errors import HkdsrError
from hkdsr.evaluate import BICUBIC, SetScore, cost, scored_sets
from hkdsr.files import same_file
from hkdsr.nets.exported import Exported
from hkdsr.nets.load import build, load
from hkdsr.report.strip import draw_strip
from hkdsr.training.fit import pick_device


def evaluate(
    network: str,
    root: Path,
    sets: Sequence[str],
    scale: int | None,
    ensemble: bool,
    per_image: bool,
    device: str,
    say: Callable[[str], None],
) -> None:
    """Score a checkpoint, a shipped network or bicubic, and say the protocol first.

    Raises HkdsrError for a missing network, set or device, and for a scale that is not the network's.
    """
    loaded = None if network == BICUBIC else load(network).to(pick_device(device, "--device"))
    if loaded is not None and scale not in (None, loaded.scale):
        raise HkdsrError(f"{network} is a x{loaded.scale} network: leave scale out or set it to {loaded.scale}")
    for index, score in enumerate(scored_sets(loaded, sets, root, scale, ensemble)):
        if index == 0:
            say(score.protocol)
            say(f"{'set':<24}{'PSNR-Y':>10}{'SSIM-Y':>10}")
        for line in _lines(score, per_image):
            say(line)


def info(network: str, scale: int | None, say: Callable[[str], None]) -> None:
    """Say what a network is and what it costs. Raises HkdsrError if there is no such network, or of another scale."""
    loaded = build(network, scale or 2) if ":" in network and not Path(network).exists() else load(network)
    if scale not in (None, loaded.scale):
        raise HkdsrError(f"{network} is a x{loaded.scale} network: leave scale out or set it to {loaded.scale}")
    settings = ", ".join(f"{name} {value}" for name, value in loaded.settings.items())
    say(f"{loaded.family}: {settings}")
    if isinstance(loaded, Exported):
        return
    say(
        f"{len(loaded.blocks)} blocks of {loaded.channels} channels, input padded to multiples of {loaded.pad_multiple}"
    )
    say(f"{cost(loaded)}, which gives 1280x720")


def export(network: str, output: Path | None, pictures: Sequence[Path], say: Callable[[str], None]) -> None:
    """Write a network as ONNX, beside its file or, if it is a shipped one, here; say how alike its pictures are.

    Raises HkdsrError as ``hkdsr.export`` does, and if there is no such network.
    """
    loaded = load(network)
    output = output or Path(network).with_suffix(".onnx")
    say(export_onnx(loaded, output, pictures).sentence())
    say(f"written: {output}")


def strip(
    hr: Path,
    networks: Sequence[str],
    output: Path,
    at: tuple[int, int] | None,
    side: int,
    say: Callable[[str], None],
) -> None:
    """Write ``draw_strip``'s picture and say where. Raises HkdsrError as it does, and if it cannot be written."""
    if same_file(output, hr):
        raise HkdsrError(f"{output} is also the HR picture: name another output")
    check_target(output, Picture(np.zeros((1, 1, 3), np.uint8)))
    write_picture(output, Picture(draw_strip(hr, networks, at, side)))
    say(f"written: {output}")


def _lines(score: SetScore, per_image: bool) -> list[str]:
    lines = []
    if per_image:
        lines += [f"  {image.name:<22}{image.psnr_y:>10.3f}{image.ssim_y:>10.4f}" for image in score.images]
    return [*lines, f"{score.name:<24}{score.psnr_y:>10.3f}{score.ssim_y:>10.4f}"]
