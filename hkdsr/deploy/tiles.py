"""Tiles that join without seams: how far a network sees, measured, and the squares that cover an image.

An output pixel of a convolutional network depends on the LR pixels within some distance only. A tile that is run with
that much of its surroundings gives the pixels that the whole image would give. The distance is measured, not computed
from the layers: deep networks hardly use their outermost pixels, and some operations see the whole image at once
(channel attention, variances, pooling to a grid), so that no surroundings are wide enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from hkdsr.nets.base import Network
from hkdsr.nets.exits import NetworkWithExits

Enlarger = Network | NetworkWithExits
"""What turns one LR image into one SR image or, with exits, into several."""

# A change of the output, in [0, 1], that still counts as none: far below a grey level, so that few roundings turn.
SAME = 0.02 / 255
# The widest surroundings tried, in LR pixels: a 256 tile grows to 384, which is 2.25 times its pixels.
WIDEST = 64
# Networks that see everything gain almost nothing from wider surroundings than these.
ENOUGH = 32


@dataclass(frozen=True)
class Reach:
    """How many LR pixels around a tile a network needs.

    ``sees_all`` says that the surroundings matter at every distance tried: then tiles differ from the whole image,
    and ``pixels`` is only a compromise.
    """

    pixels: int
    sees_all: bool


def network_of(enlarger: Enlarger) -> Network:
    """The network itself, without its exits."""
    return enlarger if isinstance(enlarger, Network) else enlarger.network


def images_of(enlarger: Enlarger, x: Tensor) -> list[Tensor]:
    """LR (1, 3, h, w) -> images (1, 3, scale*h, scale*w): those of exits and of features and, last, the final one."""
    made = enlarger(x)
    return [made] if isinstance(made, Tensor) else [*made.exits, *made.features, made.final]


_known: WeakKeyDictionary[Enlarger, Reach] = WeakKeyDictionary()


def reach(enlarger: Enlarger) -> Reach:
    """``measure_reach``, once per network: its weights are taken to stay as they are until ``forget_reach``."""
    if enlarger not in _known:
        _known[enlarger] = measure_reach(enlarger)
    return _known[enlarger]


def forget_reach(enlarger: Enlarger) -> None:
    """Measure anew when it is next asked for, as the weights have changed."""
    _known.pop(enlarger, None)


@torch.inference_mode()
def measure_reach(enlarger: Enlarger) -> Reach:
    """How far ``enlarger`` sees, from a probe image run with and without its surroundings.

    Where the two results agree, the cut edges are out of reach. The surroundings are brighter and flatter than the
    middle, so that statistics over the whole image give themselves away. Small probes are tried first: a shallow
    network is measured in a moment, a deep one in the time of a few tiles.
    """
    # TF32 would round by more than a far neighbour's influence, and differently for each size of image.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for widest in (WIDEST // 4, WIDEST // 2, WIDEST):
            pixels = _reach_within(enlarger, widest)
            if pixels <= widest:
                return Reach(pixels, sees_all=False)
    return Reach(ENOUGH, sees_all=True)


def _reach_within(enlarger: Enlarger, widest: int) -> int:
    """The reach in LR pixels, if it is at most ``widest``; else some larger number."""
    network = network_of(enlarger)
    scale, multiple = network.scale, network.pad_multiple
    # An odd number of multiples is cut off, which shifts strides that ``pad_multiple`` does not know of.
    margin = multiple * (-(-widest // multiple) | 1)
    side = multiple * -(-2 * (widest + 8) // multiple)
    inside, outside = side, side + 2 * margin
    generator = torch.Generator().manual_seed(0)
    image = 0.8 + 0.2 * torch.rand(1, 3, outside, outside, generator=generator)
    middle = image[..., margin : margin + inside, margin : margin + inside]
    middle.copy_(torch.rand(middle.shape, generator=generator))

    weight = next(enlarger.parameters(), torch.zeros(()))
    cut, whole = (torch.cat(images_of(enlarger, x.to(weight))) for x in (middle, image))
    start, stop = scale * margin, scale * (margin + inside)
    change = (whole[..., start:stop, start:stop] - cut).abs().amax(dim=(0, 1)).float().cpu()
    return _farthest(change > max(SAME, 2 * torch.finfo(weight.dtype).eps), scale)


def _farthest(changed: Tensor, scale: int) -> int:
    """Distance in LR pixels from the edges of a square, bool (side, side), to its innermost True; 0 if none is."""
    side = changed.shape[-1]
    line = torch.arange(side)
    depth = torch.minimum(line, side - 1 - line) // scale + 1
    return int((torch.minimum(depth[:, None], depth) * changed).max())
