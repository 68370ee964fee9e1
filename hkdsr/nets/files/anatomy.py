"""Find the trunk of a network whose code is not ours, and record what its modules compute.

The network runs once on a small image. Its trunk is the run of like modules, side by side in one parent, that holds the
most parameters among those whose features all have the size of the LR image. A block inside another one holds fewer
parameters than the outer one, so the outermost run is found. A plain chain of layers has no blocks of several layers:
there its convolutions of equal width are the trunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import parameter_count

LEAST_SHARE = 0.05
"""A run with less than this share of the parameters is a detail, such as one level of a U-Net, and not the trunk."""

WIDEST_STEP = 8
"""A map this many times smaller or larger than the image still shows places in it; a mean over all does not."""


@dataclass(frozen=True)
class Anatomy:
    """Where a network can be tapped.

    ``trunk`` holds its blocks in order, and is empty if the network has no trunk; ``channels`` is the number of
    channels of their features. ``lift`` is the convolution that turns the image into features. ``reduction`` is the
    factor by which the image is reduced before it (pixel-unshuffle), 1 in most networks. Where the first block's input
    is no such map of features, as the image, its output stands for it (``starts_inside``).
    """

    lift: nn.Conv2d
    trunk: tuple[nn.Module, ...]
    channels: int
    reduction: int
    starts_inside: bool = False

    def trace(self, run: Callable[[Tensor], Tensor], x: Tensor, taps: Sequence[int]) -> tuple[Tensor, ...]:
        """Call ``run``, which runs the network, on ``x`` and record features on the way.

        Returns its result, the input of the first block (``x`` without a trunk) and the outputs of the blocks ``taps``.
        Features are (B, channels, H, W), H and W at least those of ``x``: padding is at the bottom and right.
        """
        tapped = [self.trunk[index] for index in taps]
        with recording([self.lift, *self.trunk[:1], *tapped]) as calls:
            result = run(x)
        grid = grid_of(calls[self.lift][0].given)
        shallow = x
        if self.trunk:
            first = calls[self.trunk[0]][0]
            shallow = self._features(first.result if self.starts_inside else first.given, grid)
        return result, shallow, *(self._features(calls[block][0].result, grid) for block in tapped)

    def _features(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        """A map of the LR image's size: features of other sizes are enlarged or reduced bilinearly."""
        features = as_map(features, grid)
        size = (self.reduction * grid[0], self.reduction * grid[1])
        if grid_of(features) == size:
            return features
        return F.interpolate(features, size, mode="bilinear", align_corners=False, antialias=size < grid_of(features))


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


def with_taps(anatomy: Anatomy, taps: Mapping[str, nn.Module], calls: Calls, name: str) -> Anatomy:
    """``anatomy`` with the modules ``taps`` as trunk, whatever was found; their ``calls`` are those for one image.

    Raises HkdsrError, naming a tap by its path, if it does not run once, gives no map of the image, or has another
    number of channels than the first.
    """
    grid = grid_of(calls[anatomy.lift][0].given)
    widths: dict[str, int] = {}
    for path, module in taps.items():
        if len(found := calls.get(module, ())) != 1:
            raise HkdsrError(
                f"the tap {path} of {name} runs {len(found)} times for an image: name a module that runs once"
            )
        shape = tuple(found[0].result.shape)
        if not _is_map(shape, grid) and not _is_resized(shape, grid):
            raise HkdsrError(
                f"the tap {path} of {name} gives {shape or 'no tensor'} where an image is {grid[1]}x{grid[0]}: name a "
                "module whose output is a map of features (B, C, h, w) of the image's size or a whole part of it"
            )
        widths[path] = as_map(found[0].result, grid).shape[1]
    width = next(iter(widths.values()))
    if odd := next((path for path in taps if widths[path] != width), None):
        raise HkdsrError(
            f"the taps of {name} have {width} channels, but {odd} has {widths[odd]}: name modules of one width"
        )
    trunk = tuple(taps.values())
    first = calls[trunk[0]][0]
    return replace(anatomy, trunk=trunk, channels=width, starts_inside=first.given.shape != first.result.shape)


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


def _is_resized(shape: Sequence[int], grid: tuple[int, int]) -> bool:
    """Whether features of this shape are a map whose sides are the grid's, times or divided by 1 to ``WIDEST_STEP``."""
    match tuple(shape):
        case (1, _, h, w) if min(h, w) > 0:
            small, large = sorted(((h, w), grid))
            factor = large[0] // small[0]
            return factor <= WIDEST_STEP and (factor * small[0], factor * small[1]) == large
        case _:
            return False


def _parameters(run: tuple[nn.Module, ...]) -> int:
    return sum(map(parameter_count, run))


def _first_tensor(value: object) -> Tensor:
    first = value[0] if isinstance(value, tuple) and value else value
    return first.clone() if isinstance(first, Tensor) else torch.empty(0)
