"""Modules that take images of one size only, on images of any size: padded, and cut into tiles that overlap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

from torch import Tensor, nn

from hkdsr.nets.probing import PROBED_SCALES
from hkdsr.nets.results import image_of
from hkdsr.nets.wrapped import extended

MARGIN = 4
"""The part of a side that a tile is run with beyond what is kept of it, on each side."""


class OneSize(nn.Module):
    """``model``, which takes images of ``size`` (height, width) only, as a module that takes (B, 3, h, w) of any size.

    What it returns for its own size is the image, or has the image in it. Tiles have surroundings of a quarter of their
    side, so that seams show only if the network sees further. Smaller images are padded by reflection.
    """

    def __init__(self, model: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, x: Tensor) -> object:
        height, width = self.size
        whole = x
        for axis, side in ((-2, height), (-1, width)):
            whole = extended(whole, axis, max(whole.shape[axis], side))
        image: Tensor | None = None
        scale = 1
        parts = product(_parts(whole.shape[-2], height), _parts(whole.shape[-1], width))
        for (top, first_row, last_row), (left, first, last) in parts:
            made = self.model(whole[..., top : top + height, left : left + width])
            found = ((s, image_of(made, (x.shape[0], s * height, s * width), None)) for s in PROBED_SCALES)
            scale, tile = next(((s, image) for s, image in found if image is not None), (1, None))
            if tile is None:
                return made
            if image is None:
                image = tile.new_empty(*tile.shape[:2], *(scale * side for side in whole.shape[-2:]))
            rows, columns = (slice(scale * a, scale * b) for a, b in ((first_row, last_row), (first, last)))
            rows_of_tile = slice(rows.start - scale * top, rows.stop - scale * top)
            columns_of_tile = slice(columns.start - scale * left, columns.stop - scale * left)
            image[..., rows, columns] = tile[..., rows_of_tile, columns_of_tile]
        assert image is not None
        return image[..., : scale * x.shape[-2], : scale * x.shape[-1]]


def _parts(length: int, side: int) -> Iterator[tuple[int, int, int]]:
    """Where tiles begin along an axis, and the pixels that are kept of each: from, to."""
    step = side - 2 * (side // MARGIN)
    starts = [*range(0, length - side, step), length - side]
    joints = [0, *((a + b + side) // 2 for a, b in pairwise(starts)), length]
    yield from zip(starts, joints[:-1], joints[1:], strict=True)
