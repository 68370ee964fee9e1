"""The squares that cover an image, and how large they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from hkdsr.errors import HkdsrError

SMALLEST_TILE = 16
# Linux rarely refuses memory, it ends the process that uses it: on the CPU "auto" does not begin with more than this.
LARGEST_WHOLE = 1024
NEAR, NEAR_TILE, TILE = 16, 256, 512
"""Of larger images, on a CPU: networks that see up to 16 pixels far take tiles of 256, others of 512, so that the
surroundings stay a small part. A row of tiles and what the network computes for one of them then take 0.3 GB."""

TileSize = int | Literal["auto"] | None


@dataclass(frozen=True)
class Tile:
    """One piece of work, in LR pixels: run the ``seen`` part of the image (rows, columns), keep the ``kept`` part."""

    seen: tuple[slice, slice]
    kept: tuple[slice, slice]

    def kept_of_seen(self, scale: int) -> tuple[slice, slice]:
        """Where the kept pixels lie in the network's output for ``seen``."""
        (top, left), (rows, columns) = self.seen, self.kept
        return _enlarged(rows, top.start, scale), _enlarged(columns, left.start, scale)

    def kept_of_whole(self, scale: int) -> tuple[slice, slice]:
        """Where the kept pixels lie in the upscaled image."""
        rows, columns = self.kept
        return _enlarged(rows, 0, scale), _enlarged(columns, 0, scale)


def cover(size: tuple[int, int], side: int, surroundings: int, multiple: int) -> Iterator[Tile]:
    """Squares of ``side`` LR pixels that cover an image of ``size`` (height, width) once, row by row.

    Each is seen with ``surroundings`` pixels on every side, or as many as there are. What is seen starts and ends at
    multiples of ``multiple`` or at the image's edge, so that windows and strides lie as in the whole image.
    """
    height, width = size
    for seen_rows, rows in _segments(height, side, surroundings, multiple):
        for seen_columns, columns in _segments(width, side, surroundings, multiple):
            yield Tile((seen_rows, seen_columns), (rows, columns))


def halved(side: int) -> Iterator[int]:
    """``side`` and its halves, down to the smallest tile."""
    yield side
    while side > SMALLEST_TILE:
        side = max(-(-side // 2), SMALLEST_TILE)
        yield side


def check_tile(tile: TileSize) -> None:
    """Raises HkdsrError for a tile that is too small."""
    if isinstance(tile, int) and tile < SMALLEST_TILE:
        raise HkdsrError(f"tile is {tile}: leave it out or set it to at least {SMALLEST_TILE} pixels")


def first_side(whole: int, surroundings: Callable[[], int | None]) -> int:
    """The side of the tiles to begin with on a CPU, for an image whose longest side is ``whole``, in LR pixels.

    ``surroundings`` are the pixels that a tile needs on every side; None if tiles differ from the whole image: then
    they are as large as can be.
    """
    if whole <= LARGEST_WHOLE:
        return whole
    needed = surroundings()
    if needed is None:
        return LARGEST_WHOLE
    return NEAR_TILE if needed <= NEAR else TILE


def _segments(length: int, side: int, surroundings: int, multiple: int) -> Iterator[tuple[slice, slice]]:
    """(seen, kept) along one axis."""
    for start in range(0, length, side):
        stop = min(start + side, length)
        first = max(start - surroundings, 0) // multiple * multiple
        last = min(-(-(stop + surroundings) // multiple) * multiple, length)
        yield slice(first, last), slice(start, stop)


def _enlarged(part: slice, origin: int, scale: int) -> slice:
    return slice(scale * (part.start - origin), scale * (part.stop - origin))
