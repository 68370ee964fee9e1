"""Training images decoded once into flat uint8 files that are memory-mapped: a crop then costs a copy, not a decode.

A store is a folder named by its key: ``index.json``, ``hr.u8`` and ``lr.u8`` (image after image, rows, columns,
RGB). It is built beside its final place, flushed and renamed, so that a process killed at any moment leaves a complete
store or none. A lock serialises builders; whoever holds it may delete what a killed builder left behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from hkdsr.data import flat
from hkdsr.data.decode import CODEC_ERRORS, opened
from hkdsr.data.images import rgb
from hkdsr.data.partners import matching
from hkdsr.data.resize import bicubic_pair
from hkdsr.data.sources import Pair
from hkdsr.errors import HkdsrError

FORMAT = 1  # Raise it whenever the layout of the files or the way LR is made changes.

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_cache() -> Path:
    """Where stores are kept: the environment variable HKDSR_CACHE, else ``~/.cache/hkdsr``."""
    return Path(os.environ.get("HKDSR_CACHE") or "~/.cache/hkdsr").expanduser()


class ImageStore:
    """HR and LR images of one data set as read-only uint8 views into memory-mapped files.

    ``names`` are the pairs' names; ``sizes`` the HR (height, width), multiples of ``scale``; ``offsets`` the places of
    the HR images in ``hr.u8`` in bytes, with the total at the end; ``key`` names the contents.

    Raises HkdsrError for a folder that is not a complete store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / "index.json").read_text("utf-8"))
            self.key: str = index["key"]
            self.scale: int = index["scale"]
            self.names: list[str] = index["names"]
            self.sizes: list[tuple[int, int]] = [(height, width) for height, width in index["sizes"]]
            self.offsets = list(accumulate((3 * height * width for height, width in self.sizes), initial=0))
            self._hr = flat.mapped(folder / "hr.u8", self.offsets[-1])
            self._lr = flat.mapped(folder / "lr.u8", self.offsets[-1] // self.scale**2)
        except (OSError, ValueError, KeyError) as error:
            raise HkdsrError(f"{folder} is not a complete image store: delete it to have it rebuilt") from error

    def __len__(self) -> int:
        return len(self.sizes)

    def hr(self, index: int) -> np.ndarray:
        """HR image, uint8 (H, W, 3), RGB, without a copy."""
        return flat.image_at(self._hr, self.offsets[index], self.sizes[index])

    def lr(self, index: int) -> np.ndarray:
        """LR image, uint8 (H/scale, W/scale, 3), RGB, without a copy."""
        height, width = self.sizes[index]
        size = (height // self.scale, width // self.scale)
        return flat.image_at(self._lr, self.offsets[index] // self.scale**2, size)


class DerivedStore:
    """Further uint8 images of the HR size for every image of a store: the teacher's exits, filled in over time.

    ``key`` must name everything the images depend on (weights, settings); it is joined with the store's own key and
    with ``planes``, the number of images for each HR image. Opened again, it goes on where a killed process
    stopped: an image counts as finished once its line is in ``finished.log``, written after its data is flushed.

    Raises HkdsrError if ``folder`` cannot be written or its disk has too little space for what is still to come.
    """

    def __init__(self, folder: Path, like: ImageStore, key: str, planes: int) -> None:
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

    @property
    def complete(self) -> bool:
        return len(self._finished) == len(self._like)

    @property
    def missing(self) -> list[int]:
        """Indices of the images that still have to be ``put``, ascending."""
        return [index for index in range(len(self._like)) if index not in self._finished]

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
                log.write(f"\n{index}.")
        self._finished.add(index)

    def get(self, plane: int, index: int) -> np.ndarray:
        """ImageData ``plane`` of HR image ``index``, uint8 (H, W, 3), without a copy; KeyError before its ``put``."""
        if index not in self._finished:
            raise KeyError(index)
        height, width = self._like.sizes[index]
        start = self.planes * self._like.offsets[index] + plane * 3 * height * width
        return flat.image_at(self._images, start, (height, width))

    def _read_log(self) -> set[int]:
        if not self._log.exists():
            return set()
        # A kill or a full disk may cut an entry: without its full stop, a cut 12 would read as 1. The line break comes
        # first, so that the next entry does not run on from a cut one.
        entries = self._log.read_text().split()
        return {int(entry[:-1]) for entry in entries if entry.endswith(".")}


def build_store(
    pairs: Sequence[Pair], scale: int, folder: Path | None = None, workers: int | None = None, progress: bool = True
) -> ImageStore:
    """The store of ``pairs``: opened if it is already in ``folder`` (default ``default_cache()``), else built there.

    HR is cropped at the bottom and right to a multiple of ``scale``; LR is read from its file or made by MATLAB bicubic
    on uint8. The key is the sha256 over names, file contents, scale and format, so a changed image makes a new store.
    ``workers`` threads decode (default: one for each CPU); the progress bar shows only on a terminal.

    Raises HkdsrError for an unreadable image, for an LR image whose size is not HR/scale, and for a full disk;
    nothing half-written stays behind.
    """
    folder = folder or default_cache()
    workers = workers or os.cpu_count() or 1
    key = _key(pairs, scale, workers)
    target = folder / f"images-{key[:20]}"
    if target.is_dir():
        return ImageStore(target)
    with flat.writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not target.is_dir():
                for leftover in folder.glob("*.part"):
                    shutil.rmtree(leftover)
                _build(pairs, scale, key, target, workers, progress)
    return ImageStore(target)


def _build(pairs: Sequence[Pair], scale: int, key: str, target: Path, workers: int, progress: bool) -> None:
    pixels = sum(_in_parallel(_header_pixels, pairs, workers))
    flat.check_space(target.parent, 3 * pixels + 3 * pixels // scale**2)
    part = target.with_name(f"{target.name}.part")
    part.mkdir()
    try:
        with (part / "hr.u8").open("wb", 0) as hr_file, (part / "lr.u8").open("wb", 0) as lr_file, _one_torch_thread():
            sizes: list[tuple[int, ...]] = []
            decoded = _in_parallel(lambda pair: _decode(pair, scale), pairs, workers)
            for hr, lr in tqdm(decoded, "decoding", len(pairs), disable=None if progress else True, unit="image"):
                sizes.append(hr.shape[:2])
                flat.write(hr_file, hr)
                flat.write(lr_file, lr)
            os.fsync(hr_file.fileno())
            os.fsync(lr_file.fileno())
        index = {"key": key, "scale": scale, "names": [pair.name for pair in pairs], "sizes": sizes}
        with (part / "index.json").open("w", encoding="utf-8") as file:
            json.dump(index, file)
            file.flush()
            os.fsync(file.fileno())
        flat.sync_folder(part)
        part.rename(target)
        flat.sync_folder(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _decode(pair: Pair, scale: int) -> tuple[np.ndarray, np.ndarray]:
    hr = rgb(pair.hr)
    if min(hr.shape[:2]) < scale:
        raise HkdsrError(f"{pair.hr} is smaller than the scale {scale} on a side: remove it from the training images")
    if pair.lr is None:
        lr, hr = bicubic_pair(hr, scale)
        return hr, lr
    lr = rgb(pair.lr)
    return matching(hr, lr, scale, pair.hr, pair.lr), lr


def _key(pairs: Sequence[Pair], scale: int, workers: int) -> str:
    files = [path for pair in pairs for path in (pair.hr, pair.lr) if path is not None]
    digests = dict(zip(files, _in_parallel(_digest, files, workers), strict=True))
    contents = [(pair.name, digests[pair.hr], pair.lr and digests[pair.lr]) for pair in pairs]
    return hashlib.sha256(json.dumps([FORMAT, scale, contents]).encode()).hexdigest()


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise HkdsrError(f"cannot read {path} ({error.strerror}): check the file and its permissions") from error


def _header_pixels(pair: Pair) -> int:
    """Pixels as the header tells; 0 if it cannot be read, for decoding says better what is wrong with the file."""
    try:
        with opened(pair.hr, pair.hr, sys.maxsize) as image:
            return image.width * image.height
    except CODEC_ERRORS:
        return 0


def _in_parallel(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Results in the order of ``items``, never more than a few ahead of whoever takes them (an image is big)."""
    pool = ThreadPoolExecutor(workers)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """The images are the parallel work: torch's own threads inside each worker would only fight over the CPUs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
