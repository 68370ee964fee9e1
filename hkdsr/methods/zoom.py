"""Further images to ask both networks about, and changes to them that can be undone exactly (DUKD, AugKD)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from hkdsr.data import imresize
from hkdsr.errors import HkdsrError

# Each is its own inverse. A transposition does not commute with a single flip, so the order counts.
CHANGES = (
    lambda images: 1 - images,
    lambda images: images.flip(-1),
    lambda images: images.flip(-2),
    lambda images: images.transpose(-1, -2),
)


def random_tiles(hr: Tensor, scale: int) -> Tensor:
    """A random one of the scale^2 tiles of each HR image (B, C, scale*h, scale*w): (B, C, h, w)."""
    rows, columns = torch.randint(scale, (2, len(hr))).to(hr.device)
    tiles = hr.unflatten(-1, (scale, -1)).unflatten(-3, (scale, -1))
    return tiles[torch.arange(len(hr), device=hr.device), :, rows, :, columns]


def reduced(lr: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """MATLAB's bicubic reduction of LR images (B, C, h, w) in [0, 1], and the images that it was made from.

    Where a side is no multiple of ``scale``, the bottom or right is cut off first. The reduction is (B, C, h // scale,
    w // scale), clamped to [0, 1] and, unlike LR files, not rounded to 8 bits.

    Raises HkdsrError if a side is shorter than ``scale``.
    """
    height, width = (side // scale * scale for side in lr.shape[-2:])
    if not (height and width):
        raise HkdsrError(
            f"zoom-out at x{scale} leaves nothing of LR patches of {lr.shape[-2]}x{lr.shape[-1]} pixels: "
            f"set data.patch to {scale} or more"
        )
    whole = lr[..., :height, :width]
    return imresize(whole, 1 / scale).clamp(0, 1), whole


def consistent(network: Callable[[Tensor], Tensor], images: Tensor, probability: float) -> Tensor:
    """What ``network`` makes of square images (B, C, p, p) that are randomly changed, with the changes undone."""
    if not probability:
        return network(images)
    drawn = drawn_changes(len(images), probability)
    return restored(network(changed(images, drawn)), drawn)


def drawn_changes(count: int, probability: float) -> Tensor:
    """Which changes befall each of ``count`` images, each with ``probability``: bool (count, 4).

    Columns are in the order in which they are applied: colours inverted, flipped left to right, flipped upside down,
    transposed.
    """
    # Drawn on the CPU, so that a run sees the same on every device.
    return torch.rand(count, len(CHANGES)) < probability


def changed(images: Tensor, drawn: Tensor) -> Tensor:
    """Square images (B, C, p, p) in [0, 1] after the changes of ``drawn`` (B, 4)."""
    return _applied(images, drawn, range(len(CHANGES)))


def restored(images: Tensor, drawn: Tensor) -> Tensor:
    """What ``changed`` images of any size were before: the same changes, the last one undone first."""
    return _applied(images, drawn, reversed(range(len(CHANGES))))


def _applied(images: Tensor, drawn: Tensor, order: Iterable[int]) -> Tensor:
    chosen = drawn.to(images.device)[..., None, None, None]
    for index in order:
        images = torch.where(chosen[:, index], CHANGES[index](images), images)
    return images
