"""Images made from a store's images, such as those of the teacher's exits, kept beside it and filled in over time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from hkdsr.data import flat
from hkdsr.data.store import FORMAT


class Layout(Protocol):
    """What images are derived from: an ``ImageStore``, or anything else with a key and sizes.

    ``offsets`` are the places of images of these ``sizes``, uint8 RGB, one after the other, with the total at the end.
    """

    @property
    def key(self) -> str: ...
    @property
    def sizes(self) -> Sequence[tuple[int, int]]: ...
    @property
    def offsets(self) -> Sequence[int]: ...
    def __len__(self) -> int: ...


class DerivedStore:
    """Further uint8 images of the HR size for every image of a store: the teacher's exits, filled in over time.

    ``key`` must name everything the images depend on (weights, settings); it is joined with the store's own key and
    with ``planes``, the number of images for each HR image. Opened again, it goes on where a killed process
    stopped: an image counts as finished once its line is in ``finished.log``, written after its data is flushed.

    Raises HkdsrError if ``folder`` cannot be written or its disk has too little space for what is still to come.
    """

    def __init__(self, folder: Path, like: Layout, key: str, planes: int) -> None:
        self.planes = planes
        self.key = hashlib.sha256(f"{FORMAT} {like.key} {planes} {key}".encode()).hexdigest()
        self.folder = folder / f"derived-{self.key[:20]}"
        self._like = like
        self._log = self.folder / "finished.log"
        self._data = self.folder / "images.u8"
        size = planes * like.offsets[-1]
        with flat.writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._finished = self._read_log()
            finished_size = sum(like.offsets[index + 1] - like.offsets[index] for index in self._finished)
            flat.check_space(self.folder, size - planes * finished_size)
            with self._data.open("ab") as file:
                file.truncate(size)
            self._images = flat.mapped(self._data, size)
        self._finished = {index for index in self._finished if self._is_whole(index)}

    @property
    def missing(self) -> list[int]:
        """Indices of the images that still have to be ``put``, ascending."""
        return [index for index in range(len(self._like)) if index not in self._finished]

    @property
    def missing_bytes(self) -> int:
        """Size of the images that still have to be ``put``."""
        offsets = self._like.offsets
        return self.planes * sum(offsets[index + 1] - offsets[index] for index in self.missing)

    def put(self, index: int, images: Sequence[np.ndarray]) -> None:
        """Store the ``planes`` images, uint8 (H, W, 3) each, of HR image ``index`` durably.

        Raises ValueError for a wrong number, type or shape, HkdsrError if the disk is full.
        """
        expected = (*self._like.sizes[index], 3)
        if len(images) != self.planes or any(p.dtype != np.uint8 or p.shape != expected for p in images):
            raise ValueError(f"image {index} takes {self.planes} uint8 arrays of shape {expected}")
        with flat.writing_to(self.folder):
            # Written through the file, not through the map: a full disk is then an error instead of a bus error.
            with self._data.open("r+b", buffering=0) as file:
                file.seek(self.planes * self._like.offsets[index])
                for image in images:
                    flat.write(file, image)
                os.fsync(file.fileno())
            with self._log.open("a") as log:
                log.write(f"\n{index}:{flat.checksum(*images)}.")
        self._finished.add(index)

    def get(self, plane: int, index: int) -> np.ndarray:
        """Image ``plane`` of HR image ``index``, uint8 (H, W, 3), without a copy; KeyError before its ``put``."""
        if index not in self._finished:
            raise KeyError(index)
        height, width = self._like.sizes[index]
        start = self.planes * self._like.offsets[index] + plane * 3 * height * width
        return flat.image_at(self._images, start, (height, width))

    def _is_whole(self, index: int) -> bool:
        """Whether the bytes are those that were written; entries of older versions do not say."""
        wanted = self._sums.get(index)
        return wanted is None or wanted == flat.checksum(*(self.get(plane, index) for plane in range(self.planes)))

    def _read_log(self) -> set[int]:
        self._sums: dict[int, int] = {}
        if not self._log.exists():
            return set()
        finished = set()
        # A kill or a full disk may cut an entry: without its full stop, a cut 12 would read as 1. The line break comes
        # first, so that the next entry does not run on from a cut one.
        for entry in self._log.read_text().split():
            index, _, checksum = entry.removesuffix(".").partition(":")
            if entry.endswith(".") and index.isdecimal():
                finished.add(int(index))
                if checksum.isdecimal():
                    self._sums[int(index)] = int(checksum)
        return {index for index in finished if index < len(self._like)}


class JoinedStores:
    """Several derived stores of the same images as one, with the planes of the first one first.

    A plane that others need too, the teacher's final image, has a store of its own and is made once for all of them.
    """

    def __init__(self, *parts: DerivedStore) -> None:
        self._parts = parts
        self._planes = [(part, plane) for part in parts for plane in range(part.planes)]

    @property
    def planes(self) -> int:
        """Images for each HR image."""
        return len(self._planes)

    @property
    def missing(self) -> list[int]:
        """Indices of the images that still have to be ``put`` in any part, ascending."""
        return sorted(set().union(*(part.missing for part in self._parts)))

    @property
    def missing_bytes(self) -> int:
        """Size of the images that still have to be ``put``."""
        return sum(part.missing_bytes for part in self._parts)

    def put(self, index: int, images: Sequence[np.ndarray]) -> None:
        """Store the ``planes`` images of HR image ``index`` in the parts that miss them. Raises as their ``put``."""
        start = 0
        for part in self._parts:
            if index in part.missing:
                part.put(index, images[start : start + part.planes])
            start += part.planes

    def get(self, plane: int, index: int) -> np.ndarray:
        """Image ``plane`` of HR image ``index``, uint8 (H, W, 3), without a copy; KeyError before its ``put``."""
        part, own = self._planes[plane]
        return part.get(own, index)
