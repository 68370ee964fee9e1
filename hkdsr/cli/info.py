"""``hkdsr info``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro
from tyro.conf import Positional

from hkdsr.cli.output import show
from hkdsr.errors import HkdsrError
from hkdsr.paths import exists
from hkdsr.settings.fields import split_commas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from hkdsr.nets import Network

SIDE = 64
"""LR pixels of the square image for which the table gives the shapes of the features."""


@dataclass(frozen=True)
class Info:
    """Settings, cost at a 1280x720 output, taps and receptive field of a network."""

    network: Positional[str]
    """A checkpoint, a shipped network's name, family:setting=value,..., or code as FILE.py:NAME:setting=value,..."""
    scale: int | None = None
    """Scale of a network given as family:setting=value (by default 2) or as code that takes a scale."""
    taps: tuple[str, ...] = ()
    """Modules to show as its taps in place of those found, as ``body.0,body.7``: what ``teacher_taps`` of a recipe
    takes."""

    def __post_init__(self) -> None:
        split_commas(self, "taps")


def run(arguments: list[str]) -> None:
    """Show what a network is, what it costs, where it can be tapped and how far it sees.

    Raises HkdsrError if there is no such network, or if it has another scale.
    """
    settings = tyro.cli(Info, prog="hkdsr info", args=arguments)
    from hkdsr.nets.files.load import build, load
    from hkdsr.nets.teachers import as_teacher
    from hkdsr.scoring import cost
    from hkdsr.user_code import code_name

    name, scale = settings.network, settings.scale
    described = ":" in name and not exists(name) and not code_name(name)
    network = build(name, scale or 2).eval() if described else load(name, scale)
    if scale not in (None, network.scale):
        raise HkdsrError(f"{name} is a x{network.scale} network: leave scale out or set it to {network.scale}")
    network = as_teacher(network, name, settings.taps)
    show(f"{network.family}: {', '.join(f'{key} {value}' for key, value in network.settings.items())}")
    for note in network.notes:
        show(note)
    if network.runs_in_pytorch:
        show(f"{cost(network)}, for an output of 1280x720")
    for line in tap_table(network):
        show(line)
    show(f"receptive field, as measured: {receptive_field(network)}")


def tap_table(network: Network) -> Iterator[str]:
    """A line for each block: relative depth, module path, and shape of its output for an image of 64x64."""
    import torch

    from hkdsr.nets.explored import ExploredNetwork
    from hkdsr.nets.opaque import OpaqueNetwork

    if not network.blocks:
        why = f", as it {network.without_taps}" if isinstance(network, OpaqueNetwork) else ""
        yield f"no taps{why}: methods that compare features cannot use this network"
        if isinstance(network, ExploredNetwork) and network.can_be_tapped:
            yield "modules that give features can be named by --taps here and by teacher_taps in recipes"
        return
    count = len(network.blocks)
    padded = f", input padded to multiples of {network.pad_multiple}" if network.pad_multiple > 1 else ""
    yield f"{count} blocks of {network.channels} channels{padded}"
    like = next(network.parameters())
    with torch.inference_mode():
        traced = network.trace(torch.zeros(1, 3, SIDE, SIDE).to(like), range(count))
    paths = list(module_paths(network))
    width = max(map(len, paths))
    yield f"{'depth':>5}  {'module':<{width}}  features at {SIDE}x{SIDE}"
    for index, (path, tap) in enumerate(zip(paths, traced.taps, strict=True), 1):
        yield f"{index / count:>5.2f}  {path:<{width}}  {'x'.join(map(str, tap.shape[1:]))}"


def module_paths(network: Network) -> Iterator[str]:
    """The path of each block in the network; where a block is made of modules that are registered alone, of these."""
    names: dict[nn.Module, str] = {module: name for name, module in network.named_modules()}
    for block in network.blocks:
        yield names.get(block) or " + ".join(names[part] for part in block.children() if part in names)


def receptive_field(network: Network) -> str:
    """How far around its own place an output pixel depends on the LR image."""
    from hkdsr.deploy.tiles import WIDEST, reach

    found = reach(network)
    if found.sees_all:
        return f"more than {WIDEST} LR pixels in each direction, or the whole image"
    return f"{found.pixels} LR pixels in each direction"
