"""Training images decoded once into flat uint8 files that are memory-mapped: a crop then costs a copy, not a decode.

A store is a folder named by its key: ``index.json``, ``sums.json``, ``hr.u8`` and ``lr.u8`` (image after image, rows,
columns, RGB), and further files where these would be too large (``hkdsr.data.shards``). It is built beside its final
place, flushed and renamed, so that a process killed at any moment leaves a complete store or none. A lock serialises
builders; whoever holds it may delete what a killed builder left behind. When a store is opened, its bytes are compared
with checksums, which reads it once, and damaged images and those of lost files are decoded again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from hkdsr.data import flat, shards
from hkdsr.data.decode import CODEC_ERRORS, opened
from hkdsr.data.images import rgb
from hkdsr.data.parallel import in_parallel, one_torch_thread
from hkdsr.data.partners import matching
from hkdsr.data.resize import bicubic_pair
from hkdsr.data.shards import Shards, written
from hkdsr.data.sources import Pair
from hkdsr.errors import HkdsrError
from hkdsr.memory import CUT, OutOfMemoryError, needed_for, ran_out
from hkdsr.paths import is_folder, user_path

FORMAT = 1  # Raise it whenever the layout of the files or the way LR is made changes.

SUMS = "sums.json"
NAMED = 3
"""Damaged images that are named; of others the number is told."""

logger = logging.getLogger(__name__)


def default_cache() -> Path:
    """Where stores are kept: the environment variable HKDSR_CACHE, else ``~/.cache/hkdsr``."""
    try:
        return user_path(os.environ.get("HKDSR_CACHE") or "~/.cache/hkdsr")
    except HkdsrError as error:
        raise HkdsrError(
            "the folder for decoded images is not known, as there is no home folder: set data.cache"
        ) from error


class ImageStore:
    """HR and LR images of one data set as read-only uint8 views into memory-mapped files.

    ``names`` are the pairs' names; ``sizes`` the HR (height, width), multiples of ``scale``; ``offsets`` the bytes of
    HR images before each of them, with the total at the end; ``key`` names the contents. ``has_hr`` is false for LR
    images alone: sizes and offsets are then those that HR images would have. ``restore`` gives lost and torn files
    their size again, so that their images are ``damaged``.

    Raises HkdsrError for a folder that is not a complete store.
    """

    def __init__(self, folder: Path, *, restore: bool = False) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / "index.json").read_text("utf-8"))
            self.key: str = index["key"]
            self.scale: int = index["scale"]
            self.names: list[str] = index["names"]
            self.sizes: list[tuple[int, int]] = [(height, width) for height, width in index["sizes"]]
            self.offsets = list(accumulate((3 * height * width for height, width in self.sizes), initial=0))
            self.has_hr: bool = index.get("has_hr", True)
            hr = [3 * height * width for height, width in self.sizes]
            limit: int | None = index.get("file_limit")  # None: of a version that made one file
            self._hr = Shards(folder, "hr", hr if self.has_hr else [], limit)
            self._lr = Shards(folder, "lr", [size // self.scale**2 for size in hr], limit)
            # If no file has its size, it is rather the index that is wrong.
            restore = restore and (self._hr.any_whole() or self._lr.any_whole())
            for files in (self._hr, self._lr):
                if restore:
                    files.restore()
                files.open()
            self._sums: list[list[int]] = json.loads((folder / SUMS).read_text("utf-8"))
            if len(self._sums) != len(self.sizes):
                raise ValueError("another number of sums")
        except (OSError, ValueError, TypeError, KeyError) as error:
            if ran_out(error):
                raise OutOfMemoryError(f"the images in {folder} do not fit into memory: free memory") from error
            reason = getattr(error, "strerror", None) or "damaged"
            raise HkdsrError(f"{folder} is no complete image store ({reason}): delete it to have it rebuilt") from error

    def __len__(self) -> int:
        return len(self.sizes)

    def hr(self, index: int) -> np.ndarray:
        """HR image, uint8 (H, W, 3), RGB, without a copy. Not for a store without HR."""
        assert self.has_hr
        return self._hr.image(index, self.sizes[index])

    def lr(self, index: int) -> np.ndarray:
        """LR image, uint8 (H/scale, W/scale, 3), RGB, without a copy."""
        height, width = self.sizes[index]
        return self._lr.image(index, (height // self.scale, width // self.scale))

    def damaged(self) -> list[int]:
        """The images whose bytes are no longer those that were written. Reads the whole store once."""
        found = enumerate(self._sums)
        return [i for i, sums in found if sums != _sums(self.hr(i) if self.has_hr else None, self.lr(i))]

    def repair(self, index: int, hr: np.ndarray | None, lr: np.ndarray) -> None:
        """Write the bytes of one image again. Raises ValueError for an image of another size."""
        if (self.scale * lr.shape[0], self.scale * lr.shape[1]) != self.sizes[index]:
            raise ValueError(f"image {index} has another size")
        with flat.writing_to(self.folder):
            if hr is not None:
                self._hr.write(index, [hr])
            self._lr.write(index, [lr])


def file_digests(files: Sequence[Path], workers: int | None = None) -> dict[Path, str]:
    """The sha256 of each file, by ``workers`` threads (default: one for each CPU). HkdsrError for an unreadable one."""
    return dict(zip(files, in_parallel(_digest, files, workers or os.cpu_count() or 1), strict=True))


def build_store(
    pairs: Sequence[Pair],
    scale: int,
    folder: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
    digests: Callable[[Sequence[Path]], Mapping[Path, str]] | None = None,
) -> ImageStore:
    """The store of ``pairs``: opened if it is already in ``folder`` (default ``default_cache()``), else built there.

    HR is cropped at the bottom and right to a multiple of ``scale``; LR is read from its file or made by MATLAB bicubic
    on uint8. Pairs without HR make a store without HR. The key is the sha256 over names, file contents, scale and
    format, so a changed image makes a new store.
    ``workers`` threads decode (default: one for each CPU); the progress bar shows only on a terminal. ``digests`` gives
    the sha256 of the files, by default ``file_digests``.

    Raises HkdsrError for an unreadable image, for an LR image whose size is not HR/scale, and for a full disk;
    nothing half-written stays behind.
    """
    folder = folder or default_cache()
    workers = workers or os.cpu_count() or 1
    files = [path for pair in pairs for path in (pair.hr, pair.lr) if path is not None]
    key = _key(pairs, scale, digests(files) if digests else file_digests(files, workers))
    target = folder / f"images-{key[:20]}"
    if (found := _found(target)) and not found.damaged():
        return found
    with flat.writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            found = _found(target, restore=True)
            if found is None or not _repaired(found, pairs, workers):
                for leftover in (*folder.glob("*.part"), target):
                    shutil.rmtree(leftover, ignore_errors=True)
                _build(pairs, scale, key, target, workers, progress)
    return ImageStore(target)


def _found(target: Path, *, restore: bool = False) -> ImageStore | None:
    """The store there, if its files are complete or what was lost can be decoded again (``restore``)."""
    try:
        return ImageStore(target, restore=restore) if is_folder(target) else None
    except OutOfMemoryError:
        raise  # the files may be whole
    except HkdsrError as error:
        if restore:
            logger.warning("%s", error)
        return None


def _repaired(store: ImageStore, pairs: Sequence[Pair], workers: int) -> bool:
    """Decode damaged images again; returns whether they have the sizes that the store has for them."""
    damaged = store.damaged()
    for index in damaged[:NAMED]:
        logger.warning("%s has changed on disk: %s is decoded again", store.folder, pairs[index].name)
    if len(damaged) > NAMED:
        logger.warning("%s has changed on disk: %d more images are decoded again", store.folder, len(damaged) - NAMED)
    with one_torch_thread():
        decoded = in_parallel(lambda index: _decode(pairs[index], store.scale), damaged, workers)
        try:
            for index, (hr, lr) in zip(damaged, decoded, strict=True):
                store.repair(index, hr, lr)
        except ValueError:
            return False
    return True


def _build(pairs: Sequence[Pair], scale: int, key: str, target: Path, workers: int, progress: bool) -> None:
    pixels, has_hr = sum(in_parallel(_header_pixels, pairs, workers)), pairs[0].hr is not None
    flat.check_space(target.parent, 3 * pixels + 3 * pixels // scale**2 if has_hr else 3 * pixels)
    part = target.with_name(f"{target.name}.part")
    part.mkdir()
    try:
        limit = shards.LIMIT
        with written(part, "hr", limit) as hr_files, written(part, "lr", limit) as lr_files, one_torch_thread():
            sizes: list[tuple[int, int]] = []
            sums: list[list[int]] = []
            decoded = in_parallel(lambda pair: _decode(pair, scale), pairs, workers)
            for hr, lr in tqdm(decoded, "decoding", len(pairs), disable=None if progress else True, unit="image"):
                sizes.append((scale * lr.shape[0], scale * lr.shape[1]))
                sums.append(_sums(hr, lr))
                if hr is not None:
                    hr_files.add(hr)
                lr_files.add(lr)
        names = [pair.name for pair in pairs]
        index = {"key": key, "scale": scale, "has_hr": has_hr, "names": names, "sizes": sizes, "file_limit": limit}
        for name, content in (("index.json", index), (SUMS, sums)):
            with (part / name).open("w", encoding="utf-8") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
        flat.sync_folder(part)
        part.rename(target)
        flat.sync_folder(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sums(hr: np.ndarray | None, lr: np.ndarray) -> list[int]:
    return [0 if hr is None else flat.checksum(hr), flat.checksum(lr)]


def _decode(pair: Pair, scale: int) -> tuple[np.ndarray | None, np.ndarray]:
    with needed_for(str(pair.file), CUT):
        return _decoded(pair, scale)


def _decoded(pair: Pair, scale: int) -> tuple[np.ndarray | None, np.ndarray]:
    if pair.hr is None:
        return None, rgb(pair.file)
    hr = rgb(pair.hr)
    if min(hr.shape[:2]) < scale:
        raise HkdsrError(f"{pair.hr} is smaller than the scale {scale} on a side: remove it from the training images")
    if pair.lr is None:
        lr, hr = bicubic_pair(hr, scale)
        return hr, lr
    lr = rgb(pair.lr)
    return matching(hr, lr, scale, pair.hr, pair.lr), lr


def _key(pairs: Sequence[Pair], scale: int, digests: Mapping[Path, str]) -> str:
    contents = [(pair.name, pair.hr and digests[pair.hr], pair.lr and digests[pair.lr]) for pair in pairs]
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
        with opened(pair.file, pair.file, sys.maxsize) as image:
            return image.width * image.height
    except CODEC_ERRORS:
        return 0
