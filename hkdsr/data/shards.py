"""Images one after the other in flat files of a few GB, which are mapped into memory that does not grow with them.

The first file is ``STEM.u8``, the others are ``STEM-1.u8``, ``STEM-2.u8``, ...; no image is in two of them. A file that
is lost or torn costs its own images only. The system keeps what it has read of mapped files in the process until memory
is scarce, which looks like a leak and counts as the process's own: so the pages are handed back now and then.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np

from hkdsr.data import flat

LIMIT = 2 << 30
"""Bytes of a file, unless a single image has more. Image stores note theirs; those of derived ones follow from it, so
that another value makes their images of all files but the first anew."""
RESIDENT = 256 << 20
"""Pages are handed back whenever images of so many bytes have been given out."""


class Shards:
    """Images of ``sizes`` bytes each in files of at most ``limit`` bytes in ``folder``; without a limit in one file."""

    def __init__(self, folder: Path, stem: str, sizes: Sequence[int], limit: int | None) -> None:
        self._folder, self._stem = folder, stem
        self._places = list(_places(sizes, limit))
        self._lengths: list[int] = [0]
        for (file, start), size in zip(self._places, sizes, strict=True):
            if file == len(self._lengths):
                self._lengths.append(0)
            self._lengths[file] = start + size
        self._maps: list[mmap.mmap | None] = []
        self._data: list[np.ndarray] = []
        self._given = 0

    def any_whole(self) -> bool:
        """Whether there is a file of the size that it should have."""
        return any(length and path.is_file() and path.stat().st_size == length for path, length in self._files())

    def restore(self) -> None:
        """Give lost and torn files their size; what was lost reads as zero and takes no space until it is written."""
        for path, length in self._files():
            if not path.is_file() or path.stat().st_size != length:
                with path.open("ab") as file:
                    file.truncate(length)

    def open(self) -> None:
        """Map the files. Raises OSError for a missing one and ValueError for one of another size."""
        for path, length in self._files():
            if (found := path.stat().st_size) != length:
                raise ValueError(f"{path.name} has {found} bytes instead of {length}")
            with path.open("rb") as file:
                # An empty file cannot be mapped.
                self._maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if length else None)
            self._data.append(np.frombuffer(self._maps[-1] or b"", np.uint8))

    def image(self, index: int, size: tuple[int, int], skip: int = 0) -> np.ndarray:
        """uint8 (H, W, 3) of ``size`` (H, W), read-only, without a copy, ``skip`` bytes after the start of an image."""
        file, start = self._places[index]
        height, width = size
        count = 3 * height * width
        self._given += count
        if self._given > RESIDENT:
            self._hand_back()
        start += skip
        return self._data[file][start : start + count].reshape(height, width, 3)

    def write(self, index: int, images: Sequence[np.ndarray]) -> None:
        """Write the bytes of an image, given in parts, durably."""
        file, start = self._places[index]
        # Written through the file, not through the map: a full disk is then an error instead of a bus error.
        with self._path(file).open("r+b", buffering=0) as out:
            out.seek(start)
            for image in images:
                flat.write(out, image)
            os.fsync(out.fileno())

    def _path(self, file: int) -> Path:
        return path_of(self._folder, self._stem, file)

    def _files(self) -> Iterator[tuple[Path, int]]:
        """The files and the sizes that they should have."""
        return ((self._path(file), length) for file, length in enumerate(self._lengths))

    def _hand_back(self) -> None:
        """Images that were given out stay valid: their pages are read again, from the system's memory or the disk."""
        self._given = 0
        for mapped in self._maps:
            if mapped is not None and hasattr(mapped, "madvise"):  # not on Windows
                mapped.madvise(mmap.MADV_DONTNEED)


class ShardWriter:
    """Writes images one after the other into files of at most ``limit`` bytes; see ``written``."""

    def __init__(self, folder: Path, stem: str, limit: int) -> None:
        self._folder, self._stem, self._limit = folder, stem, limit
        self._count, self._start = 0, 0
        self._file = self._next()

    def add(self, image: np.ndarray) -> None:
        """Append an image."""
        if self._start and self._start + image.nbytes > self._limit:
            self.close()
            self._file = self._next()
        flat.write(self._file, image)
        self._start += image.nbytes

    def close(self) -> None:
        """Flush to disk."""
        try:
            os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def _next(self) -> FileIO:
        path = path_of(self._folder, self._stem, self._count)
        self._count, self._start = self._count + 1, 0
        return path.open("wb", buffering=0)


@contextmanager
def written(folder: Path, stem: str, limit: int) -> Iterator[ShardWriter]:
    """A writer whose files are flushed to disk and closed at the end."""
    writer = ShardWriter(folder, stem, limit)
    try:
        yield writer
    finally:
        writer.close()


def path_of(folder: Path, stem: str, file: int) -> Path:
    """The path of a file, counted from 0."""
    return folder / (f"{stem}-{file}.u8" if file else f"{stem}.u8")


def _places(sizes: Sequence[int], limit: int | None) -> Iterator[tuple[int, int]]:
    """The number of the file and the first byte in it, for each image."""
    file, start, most = 0, 0, limit or math.inf
    for size in sizes:
        if start and start + size > most:
            file, start = file + 1, 0
        yield file, start
        start += size
