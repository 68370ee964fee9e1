"""TIFF files of uncompressed tiles, written line by line; BigTIFF where the other kind is too small, at 4 GB."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
import tifffile
from tifffile import TiffPage

from hkdsr.data.notes import Notes

SIDE = 256
"""Of the tiles, in pixels."""
LARGEST = 2**32 - 2**25
"""Bytes of a file of the older kind, with room for what is not pixels."""
UNASSOCIATED = 2
PER_INCH = 2
XMP, BYTES = 700, 1


class TiffWriter:
    """Writes an image of ``shape`` (H, W, 1..4) and uint8 into ``file``, which is empty and can be read.

    Lines come from the top to ``write``; ``close`` ends the file, which stays open. EXIF is left out.
    """

    def __init__(
        self, file: BinaryIO, shape: tuple[int, int, int], dtype: np.dtype, profile: bytes | None, notes: Notes
    ) -> None:
        height, width, channels = shape
        self._file, self._shape, self._across = file, shape, -(-width // SIDE)
        size = -(-height // SIDE) * self._across * SIDE**2 * channels * dtype.itemsize
        with tifffile.TiffWriter(file, bigtiff=size > LARGEST) as writer:
            writer.write(
                None,
                shape=shape if channels > 1 else (height, width),
                dtype=dtype,
                tile=(SIDE, SIDE),
                photometric="rgb" if channels > 2 else "minisblack",
                planarconfig="contig" if channels > 1 else None,
                extrasamples=(UNASSOCIATED,) if channels in (2, 4) else None,
                resolution=notes.dpi,
                resolutionunit=PER_INCH if notes.dpi else None,
                iccprofile=profile,
                extratags=[(XMP, BYTES, len(notes.xmp), notes.xmp, True)] if notes.xmp else [],
                metadata=None,
                software=False,
            )
        file.seek(0)
        with tifffile.TiffFile(file) as written:
            page = written.pages[0]
            assert isinstance(page, TiffPage)
            self._offsets = page.dataoffsets
        self._waiting = np.empty((SIDE, width, channels), dtype)
        self._done = 0

    def write(self, lines: np.ndarray) -> None:
        """Add lines (n, W, C)."""
        while len(lines):
            at = self._done % SIDE
            taken = lines[: SIDE - at]
            self._waiting[at : at + len(taken)] = taken
            self._done, lines = self._done + len(taken), lines[len(taken) :]
            if self._done % SIDE == 0:
                self._store()

    def close(self) -> None:
        """End the file."""
        if self._done % SIDE:
            self._waiting[self._done % SIDE :] = 0
            self._store()

    def _store(self) -> None:
        """Write the tiles of the lines that wait, which fill a row of them."""
        first = (self._done - 1) // SIDE * self._across
        for index in range(self._across):
            tile = self._waiting[:, SIDE * index : SIDE * (index + 1)]
            tile = np.pad(tile, ((0, 0), (0, SIDE - tile.shape[1]), (0, 0)))
            self._file.seek(self._offsets[first + index])
            self._file.write(tile.tobytes())
