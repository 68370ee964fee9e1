"""``hkdsr info``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from hkdsr.cli.output import show
from hkdsr.errors import HkdsrError


@dataclass(frozen=True)
class Info:
    """Parameters, multiply-adds at a 1280x720 output, and settings of a network."""

    network: Positional[str]
    """A checkpoint, a shipped network's name, or family:setting=value,..."""
    scale: int | None = None
    """Scale of a network given as family:setting=value; by default 2."""


def run(arguments: list[str]) -> None:
    """Show what a network is and what it costs.

    Raises HkdsrError if there is no such network, or if it has another scale.
    """
    settings = tyro.cli(Info, prog="hkdsr info", args=arguments)
    from hkdsr.nets.files.load import build, load
    from hkdsr.scoring import cost

    name, scale = settings.network, settings.scale
    network = build(name, scale or 2) if ":" in name and not Path(name).exists() else load(name)
    if scale not in (None, network.scale):
        raise HkdsrError(f"{name} is a x{network.scale} network: leave scale out or set it to {network.scale}")
    show(f"{network.family}: {', '.join(f'{key} {value}' for key, value in network.settings.items())}")
    if not network.runs_in_pytorch:
        return
    show(
        f"{len(network.blocks)} blocks of {network.channels} channels, "
        f"input padded to multiples of {network.pad_multiple}"
    )
    show(f"{cost(network)}, which gives 1280x720")
