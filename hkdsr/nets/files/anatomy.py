"""Find the trunk of a network whose code is not ours, and record what its modules compute.

The network runs once on a small image. Its trunk is the run of like modules, side by side in one parent, that holds the
most parameters among those whose features all have the size of the LR image. A block inside another one holds fewer
parameters than the outer one, so the outermost run is found. A plain chain of layers has no blocks of several layers:
there its convolutions of equal width are the trunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.nets.base import parameter_count

LEAST_SHARE = 0.05
"""A run with less than this share of the parameters is a detail, such as one level of a U-Net, and not the trunk."""


@dataclass(frozen=True)
class Anatomy:
    """Where a network can be tapped.

    ``trunk`` holds its blocks in order, and is empty if the network has no trunk; ``channels`` is the number of
    channels of their features. ``lift`` is the convolution that turns the image into features. ``reduction`` is the
    factor by which the image is reduced before it (pixel-unshuffle), 1 in most networks.
    """

    lift: nn.Conv2d
    trunk: tuple[nn.Module, ...]
    channels: int
    reduction: int

    def trace(self, run: Callable[[Tensor], Tensor], x: Tensor, taps: Sequence[int]) -> tuple[Tensor, ...]:
        """Call ``run``, which runs the network, on ``x`` and record features on the way.

        Returns its result, the input of the first block (``x`` without a trunk) and the outputs of the blocks ``taps``.
        Features are (B, channels, H, W), H and W at least those of ``x``: padding is at the bottom and right.
        """
        tapped = [self.trunk[index] for index in taps]
        with recording([self.lift, *self.trunk[:1], *tapped]) as calls:
            result = run(x)
        grid = grid_of(calls[self.lift][0].given)
        shallow = self._features(calls[self.trunk[0]][0].given, grid) if self.trunk else x
        return result, shallow, *(self._features(calls[block][0].result, grid) for block in tapped)

    def _features(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        features = as_map(features, grid)
        if self.reduction == 1:
            return features
        return F.interpolate(features, scale_factor=self.reduction, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Call:
    """A call of a module: its first argument, and its result or the first item of it; empty if they are no tensors."""

    given: Tensor
    result: Tensor


Calls = Mapping[nn.Module, Sequence[Call]]


@contextmanager
def recording(modules: Iterable[nn.Module]) -> Iterator[Calls]:
    """Record the calls of ``modules`` as copies, since later layers may change features in place.

    The modules come in the order in which their first calls end.
    """
    calls: dict[nn.Module, list[Call]] = {}

    def record(module: nn.Module, arguments: tuple[object, ...], result: object) -> None:
        calls.setdefault(module, []).append(Call(_first_tensor(arguments), _first_tensor(result)))

    handles = [module.register_forward_hook(record) for module in dict.fromkeys(modules)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def explore(model: nn.Module, calls: Calls) -> Anatomy | None:
    """The anatomy of ``model`` from the calls of all its modules for one image; None without a convolution."""
    convolutions = (module for module in calls if isinstance(module, nn.Conv2d))
    # Some networks subtract the mean colour by a convolution from 3 channels to 3.
    lift = next((conv for conv in convolutions if (conv.in_channels, conv.out_channels) != (3, 3)), None)
    if lift is None:
        return None
    grid = grid_of(calls[lift][0].given)
    trunk = find_trunk(model, calls, grid)
    channels = as_map(calls[trunk[0]][0].result, grid).shape[1] if trunk else 3
    return Anatomy(lift, trunk, channels, max(isqrt(lift.in_channels // 3), 1))


def find_trunk(model: nn.Module, calls: Calls, grid: tuple[int, int]) -> tuple[nn.Module, ...]:
    """The blocks of the trunk, described above; ``grid`` is the size of the features on the LR grid."""
    parents = list(model.modules())
    blocks = (tuple(like) for parent in parents for _, like in groupby(parent.children(), key=type))
    chains = (chain for parent in parents for chain in _chains(parent))
    found = [run for run in blocks if any(True for _ in run[0].children()) and _may_be_trunk(run, calls, grid)]
    found = found or [run for run in chains if _may_be_trunk(run, calls, grid)]
    largest = max(found, key=_parameters, default=())
    return largest if _parameters(largest) >= LEAST_SHARE * parameter_count(model) else ()


def as_map(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Features (B, C, h, w) as they are, tokens (B, h*w, C) as a map on the ``grid`` h, w."""
    return features if features.ndim == 4 else features.transpose(1, 2).unflatten(2, grid)


def grid_of(features: Tensor) -> tuple[int, int]:
    """Height and width."""
    return features.shape[-2], features.shape[-1]


def _chains(parent: nn.Module) -> Iterator[tuple[nn.Module, ...]]:
    """Convolutions of one width that follow one another in ``parent``, with or without activations between them."""
    convolutions = [child for child in parent.children() if isinstance(child, nn.Conv2d)]
    for (inputs, outputs), like in groupby(convolutions, key=lambda conv: (conv.in_channels, conv.out_channels)):
        if inputs == outputs:
            yield tuple(like)


def _may_be_trunk(run: tuple[nn.Module, ...], calls: Calls, grid: tuple[int, int]) -> bool:
    """Whether these are modules, each called once, that all keep features of one shape."""
    if len(run) < 2:
        return False
    if any(len(calls.get(block, ())) != 1 for block in run):
        return False
    shapes = {x.shape for block in run for x in (calls[block][0].given, calls[block][0].result)}
    return len(shapes) == 1 and _is_map(shapes.pop(), grid)


def _is_map(shape: Sequence[int], grid: tuple[int, int]) -> bool:
    """Whether features of this shape are a map (1, C, h, w) or tokens (1, h*w, C) on an h x w grid."""
    match tuple(shape):
        case (1, _, h, w):
            return (h, w) == grid
        case (1, tokens, _):
            return tokens == grid[0] * grid[1]
        case _:
            return False


def _parameters(run: tuple[nn.Module, ...]) -> int:
    return sum(map(parameter_count, run))


def _first_tensor(value: object) -> Tensor:
    first = value[0] if isinstance(value, tuple) and value else value
    return first.clone() if isinstance(first, Tensor) else torch.empty(0)
