"""Additional input images, and changes of images that can be undone exactly (DUKD, AugKD, DCKD, HKDSR+)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from hkdsr.data import imresize
from hkdsr.errors import HkdsrError

# Each is its own inverse. A transposition does not commute with a single flip, so the order matters.
CHANGES = (
    lambda images: 1 - images,
    lambda images: images.flip(-1),
    lambda images: images.flip(-2),
    lambda images: images.transpose(-1, -2),
)


def random_tiles(hr: Tensor, scale: int) -> Tensor:
    """HR images (B, C, scale*h, scale*w) -> for each, a random one of its scale^2 tiles: (B, C, h, w)."""
    rows, columns = torch.randint(scale, (2, len(hr))).to(hr.device)
    tiles = hr.unflatten(-1, (scale, -1)).unflatten(-3, (scale, -1))
    return tiles[torch.arange(len(hr), device=hr.device), :, rows, :, columns]


def reduced(lr: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """MATLAB's bicubic reduction of LR images (B, C, h, w) in [0, 1], and the images that it is made from.

    These are the LR images, cropped at the bottom and right to multiples of ``scale``. The reduction is
    (B, C, h // scale, w // scale), clamped to [0, 1] and, unlike LR files, not rounded to 8 bits.

    Raises HkdsrError if a side is shorter than ``scale``.
    """
    height, width = (side // scale * scale for side in lr.shape[-2:])
    if not (height and width):
        raise HkdsrError(
            f"LR crops of {lr.shape[-2]}x{lr.shape[-1]} pixels are too small for zoom-out at x{scale}: "
            f"set data.patch to {scale} or more"
        )
    whole = lr[..., :height, :width]
    return imresize(whole, 1 / scale).clamp(0, 1), whole


def consistent(network: Callable[[Tensor], Tensor], images: Tensor, probability: float) -> Tensor:
    """The output of ``network`` for randomly changed square images (B, C, p, p), with the changes undone."""
    if not probability:
        return network(images)
    chosen = random_changes(len(images), probability)
    return restored(network(changed(images, chosen)), chosen)


def random_changes(count: int, probability: float) -> Tensor:
    """The changes of ``count`` images, each chosen with ``probability``: bool (count, 4).

    The columns are in the order of application: inverted colours, horizontal flip, vertical flip, transposition.
    """
    # Drawn on the CPU, so that the choices are the same on every device.
    return torch.rand(count, len(CHANGES)) < probability


def changed(images: Tensor, chosen: Tensor) -> Tensor:
    """Square images (B, C, p, p) in [0, 1] after the changes ``chosen`` (B, 4)."""
    return _applied(images, chosen, range(len(CHANGES)))


def restored(images: Tensor, chosen: Tensor) -> Tensor:
    """Undo ``changed``, for images of any size: the last change is undone first."""
    return _applied(images, chosen, reversed(range(len(CHANGES))))


def _applied(images: Tensor, chosen: Tensor, order: Iterable[int]) -> Tensor:
    chosen = chosen.to(images.device)[..., None, None, None]
    for index in order:
        images = torch.where(chosen[:, index], CHANGES[index](images), images)
    return images
