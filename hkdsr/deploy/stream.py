"""Enlarge an image into a file line by line: memory holds one row of tiles, however large the image is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hkdsr.data import ImageData
from hkdsr.data.write import LineWriter, lines_written
from hkdsr.deploy.grid import LARGEST_WHOLE, TileSize
from hkdsr.deploy.upscaler import Readable, Upscaler


def stream(
    upscaler: Upscaler,
    colour: Readable,
    result: ImageData,
    alpha: np.ndarray | None,
    target: Path,
    name: str,
    tile: TileSize,
    progress: bool,
) -> None:
    """Write ``target``, of a suffix in ``BY_LINES``: the pixels are those of the whole image.

    ``colour`` is grey (H, W) or RGB (H, W, 3); ``alpha`` (H, W) of the same type goes beside it. ``result`` has what
    stands beside the enlarged pixels, and a ``colour`` of their shape and type whose values are not looked at.

    Raises HkdsrError as ``upscale`` and ``write_image`` do.
    """
    if tile == "auto" and upscaler.on_gpu:
        tile = LARGEST_WHOLE  # the whole image would have to be in memory
    with lines_written(target, result) as begin:
        upscaler.fill(colour, _Lines(result, alpha, upscaler.scale, begin), name, tile, progress)


class _Lines:
    """Takes the tiles of a row from the left, and writes their lines, with alpha, once the row is full."""

    def __init__(
        self, result: ImageData, alpha: np.ndarray | None, scale: int, begin: Callable[[], LineWriter]
    ) -> None:
        self._result, self._alpha, self._scale, self._begin = result, alpha, scale, begin

    def __setitem__(self, part: tuple[slice, slice], pixels: np.ndarray) -> None:
        rows, columns = part
        width = self._result.colour.shape[1]
        if columns.start == 0:
            if rows.start == 0:
                self._writer = self._begin()
            self._lines = np.empty((rows.stop - rows.start, width, *pixels.shape[2:]), pixels.dtype)
        self._lines[:, columns] = pixels
        if columns.stop == width:
            self._write(rows)

    def _write(self, rows: slice) -> None:
        lines = self._lines.reshape(*self._lines.shape[:2], -1)
        if self._alpha is not None:
            from hkdsr.data.resize import imresize_rows  # imports PyTorch, which images without alpha may not need

            enlarged = imresize_rows(self._alpha, self._scale, rows)
            lines = np.concatenate((lines, enlarged[..., None]), axis=2)
        self._writer.write(lines)
