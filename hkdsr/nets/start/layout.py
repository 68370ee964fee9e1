"""Which channels of which layers belong together, for whoever cuts a network narrower.

Most layers have one run of channels, of which the leading ones are a narrower network's. Some join or split several
runs, as the queries, keys and values of an attention layer: a narrower network then has the leading ones of each. A
network with such layers names them in ``LAYOUTS``; a test cuts every family by it and compares the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from hkdsr.nets.base import Network
from hkdsr.nets.families.bsrn import BSRN, SeparableDistillation
from hkdsr.nets.families.hitsrf_attention import Correlation
from hkdsr.nets.families.imdn import DISTILLED, IMDN, MultiDistillation
from hkdsr.nets.families.smfanet import PartialFeedForward, SelfModulation
from hkdsr.nets.families.window_attention import WindowAttention


@dataclass(frozen=True)
class Grid:
    """Consecutive channels, the last axis running fastest: (3, heads, width) are 3 * heads runs of ``width``.

    ``per_block``: the first axis counts the blocks of the trunk.
    """

    sizes: tuple[int, ...]
    per_block: bool = False


Grids = tuple[Grid, ...]
"""All channels on one side of a layer."""


def _attention(layer: WindowAttention) -> dict[str, Grids]:
    heads = (layer.heads, layer.proj.out_features // layer.heads)
    return {"qkv out": (Grid((3, *heads)),), "proj in": (Grid(heads),)}


def _correlation(layer: Correlation) -> dict[str, Grids]:
    both = (Grid((2, layer.heads, layer.proj.out_features // (2 * layer.heads))),)
    return {"qv.conv.4 out": both, "qv.linear out": both, "proj in": both}


def _modulation(layer: SelfModulation) -> dict[str, Grids]:
    return {"linear_0 out": (Grid((2, layer.linear_1.out_channels)),)}


def _partial(layer: PartialFeedForward) -> dict[str, Grids]:
    hidden = (Grid((layer.partial,)), Grid((layer.conv_0.out_channels - layer.partial,)))
    return {"conv_0 out": hidden, "conv_2 in": hidden}


def _multi_distillation(layer: MultiDistillation) -> dict[str, Grids]:
    split = tuple(Grid((channels,)) for channels in layer.split)
    joined: Grids = (Grid((DISTILLED, layer.split[0])),)
    steps: dict[str, Grids] = {f"{name} out": split for name in ("c1", "c2", "c3")}
    return steps | dict.fromkeys(("cca.conv_du.0 in", "cca.conv_du.2 out", "c5 in"), joined)


def _separable_distillation(layer: SeparableDistillation) -> dict[str, Grids]:
    return {"c5 in": (Grid((4, layer.c5.in_channels // 4)),)}


def _all_blocks(network: Network) -> Grids:
    return (Grid((len(network.blocks), network.channels), per_block=True),)


LAYOUTS: dict[type[nn.Module], Callable[[Any], dict[str, Grids]]] = {
    WindowAttention: _attention,
    Correlation: _correlation,
    SelfModulation: _modulation,
    PartialFeedForward: _partial,
    MultiDistillation: _multi_distillation,
    SeparableDistillation: _separable_distillation,
    IMDN: lambda network: {"c.0 in": _all_blocks(network)},
    BSRN: lambda network: {"c1 in": _all_blocks(network)},
}
"""Modules that join or split channels: the layer inside them, the side (``in`` or ``out``) and its channels."""


def layouts(network: Network) -> dict[tuple[Tensor, int], Grids]:
    """The channels of every parameter's axis that is more than one run."""
    found: dict[tuple[Tensor, int], Grids] = {}
    for module in network.modules():
        for place, grids in LAYOUTS.get(type(module), lambda _: {})(module).items():
            name, side = place.split()
            for part, parameter in module.get_submodule(name).named_parameters():
                if side == "out" or part == "weight":
                    found[parameter, int(side == "in")] = grids
    return found


def evenly(count: int, length: int) -> list[int]:
    """Indices of ``count`` out of ``length`` at evenly spaced relative depths, the last one included.

    They are the blocks that ``tap_index`` finds for the depths of a network with ``count`` blocks.
    """
    return [round(number / count * length) - 1 for number in range(1, count + 1)]


def kept(wide: Grids, narrow: Grids) -> Tensor | None:
    """Which channels of ``wide`` are those of ``narrow``; None if it has more of some kind."""
    indices, start = [], 0
    for of, to in zip(wide, narrow, strict=True):
        if any(ours > theirs for ours, theirs in zip(to.sizes, of.sizes, strict=True)):
            return None
        numbers = torch.arange(start, start + prod(of.sizes)).reshape(of.sizes)
        start += prod(of.sizes)
        if of.per_block:
            numbers = numbers[evenly(to.sizes[0], of.sizes[0])]
        indices.append(numbers[tuple(slice(size) for size in to.sizes)].flatten())
    return torch.cat(indices)
