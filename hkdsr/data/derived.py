"""Images made from a store's images, such as those of the teacher's exits, kept beside it and filled in over time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from hkdsr.data import flat, shards
from hkdsr.data.shards import Shards, path_of
from hkdsr.data.store import FORMAT
from hkdsr.files import write_atomically

LOG = "finished.log"
STEM = "images"


class Layout(Protocol):
    """What images are derived from: an ``ImageStore``, or anything else with a key and sizes.

    ``offsets`` are the bytes of uint8 RGB images of these ``sizes`` before each of them, with the total at the end.
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

    Several processes may fill a store together, each under another name as ``writer``: it then has a log of its own,
    ``finished-WRITER.log``, so that no two processes write to one log. ``tidy`` joins the logs.

    Raises HkdsrError if ``folder`` cannot be written or its disk has too little space for what is still to come.
    """

    def __init__(self, folder: Path, like: Layout, key: str, planes: int, writer: str = "") -> None:
        self.planes = planes
        self.key = hashlib.sha256(f"{FORMAT} {like.key} {planes} {key}".encode()).hexdigest()
        self.folder = folder / f"derived-{self.key[:20]}"
        self._like = like
        self._log = self.folder / (f"finished-{writer}.log" if writer else LOG)
        sizes = [planes * (end - start) for start, end in pairwise(like.offsets)]
        with flat.writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sums = self._read_logs()
            flat.check_space(self.folder, sum(sizes) - sum(sizes[index] for index in self._sums))
            self._images = Shards(self.folder, STEM, sizes, _limit(self.folder, sum(sizes)))
            self._images.restore()
            self._images.open()
        self._finished = {index for index in self._sums if self._is_whole(index)}

    def has(self, index: int) -> bool:
        """Whether the images of HR image ``index`` have been ``put``."""
        return index in self._finished

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
            self._images.write(index, images)
            total = flat.checksum(*images)
            with self._log.open("a") as log:
                log.write(_entry(index, total))
        self._sums[index] = {total}
        self._finished.add(index)

    def refresh(self) -> None:
        """Find the images that other processes have ``put`` meanwhile."""
        with flat.writing_to(self.folder):
            found = self._read_logs()
        for index, sums in found.items():
            if index not in self._finished:
                self._sums[index] = sums
                if self._is_whole(index):
                    self._finished.add(index)

    def tidy(self) -> None:
        """Join the logs of all processes in one, in the order of the images; not while others ``put``."""
        with flat.writing_to(self.folder):
            logs = self._logs()
            content = "".join(_entry(index, min(self._sums[index])) for index in sorted(self._finished)).encode()
            if [log.name for log in logs] == [LOG] and logs[0].read_bytes() == content:
                return
            write_atomically(self.folder / LOG, content)
            for log in logs:
                if log.name != LOG:
                    log.unlink(missing_ok=True)

    def get(self, plane: int, index: int) -> np.ndarray:
        """Image ``plane`` of HR image ``index``, uint8 (H, W, 3), without a copy; KeyError before its ``put``."""
        if index not in self._finished:
            raise KeyError(index)
        return self._image(plane, index)

    def _image(self, plane: int, index: int) -> np.ndarray:
        height, width = size = self._like.sizes[index]
        return self._images.image(index, size, plane * 3 * height * width)

    def _is_whole(self, index: int) -> bool:
        """Whether the bytes are some that were written; entries of older versions do not say."""
        total = flat.checksum(*(self._image(plane, index) for plane in range(self.planes)))
        wanted, self._sums[index] = self._sums[index], {total}
        return not wanted or total in wanted

    def _logs(self) -> list[Path]:
        return sorted(self.folder.glob("finished*.log"))

    def _read_logs(self) -> dict[int, set[int]]:
        """The images that were finished, with the checksums of what was written; damaged images were written again."""
        finished: dict[int, set[int]] = {}
        # A kill or a full disk may cut an entry: without its full stop, a cut 12 would read as 1. The line break comes
        # first, so that the next entry does not run on from a cut one.
        for entry in (word for log in self._logs() for word in log.read_bytes().decode(errors="replace").split()):
            index, _, total = entry.removesuffix(".").partition(":")
            if entry.endswith(".") and index.isdecimal() and int(index) < len(self._like):
                finished.setdefault(int(index), set()).update([int(total)] if total.isdecimal() else [])
        return finished


def _limit(folder: Path, total: int) -> int | None:
    """Bytes of a file; None for a store that an older version has made of one file."""
    first = path_of(folder, STEM, 0)
    whole = first.is_file() and first.stat().st_size == total and not path_of(folder, STEM, 1).exists()
    return None if whole else shards.LIMIT


def _entry(index: int, total: int) -> str:
    return f"\n{index}:{total}."


class JoinedStores:
    """Several derived stores of the same images as one, with the planes of the first one first.

    A plane that others need too, the teacher's final image, has a store of its own and is made once for all of them.
    """

    def __init__(self, *parts: DerivedStore) -> None:
        self._parts = parts
        self.folders = tuple(part.folder for part in parts)
        self.lacked = len(self.missing)
        """Number of images that any part missed when it was opened."""
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

    def has(self, index: int) -> bool:
        """Whether all parts have the images of HR image ``index``."""
        return all(part.has(index) for part in self._parts)

    def refresh(self) -> None:
        """Find the images that other processes have ``put`` meanwhile."""
        for part in self._parts:
            part.refresh()

    def tidy(self) -> None:
        """Join the logs of all processes, when no process fills the parts."""
        for part in self._parts:
            part.tidy()

    def put(self, index: int, images: Sequence[np.ndarray]) -> None:
        """Store the ``planes`` images of HR image ``index`` in the parts that miss them. Raises as their ``put``."""
        start = 0
        for part in self._parts:
            if not part.has(index):
                part.put(index, images[start : start + part.planes])
            start += part.planes

    def get(self, plane: int, index: int) -> np.ndarray:
        """Image ``plane`` of HR image ``index``, uint8 (H, W, 3), without a copy; KeyError before its ``put``."""
        part, own = self._planes[plane]
        return part.get(own, index)
