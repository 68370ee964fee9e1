"""Writing files so that neither a kill nor a full disk leaves a part of one, and only one process uses a folder."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from hkdsr.errors import HkdsrError, WriteError
from hkdsr.memory import ran_out
from hkdsr.processes import number_runs

LONGEST_NAME, ROOM = 255, 24


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside ``path``, flush to disk, then rename: afterwards there is the old file or the new one.

    Makes missing folders, and removes what killed processes left of earlier tries. Raises WriteError naming the file
    when it cannot be written.
    """
    with written_atomically(path) as file:
        file.write(content)


@contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """As ``write_atomically``, for content that comes piece by piece: a file to write, and to read while it is open.

    What is raised inside leaves the file as it was; an OSError there becomes the WriteError.
    """
    name = _part_name(path.name)
    part = path.with_name(f".{name}.{os.getpid()}.part")
    try:
        with _told(path, OSError, ValueError):  # a null character in the name
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path.parent, glob.escape(name))
            file = part.open("w+b")
        with _told(path, OSError):
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        # Gone already after the rename; what a failure or Ctrl-C left is of no use, and may not even exist.
        with suppress(OSError, ValueError):
            part.unlink()


@contextmanager
def _told(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Raises WriteError for one of ``errors``, unless it is that memory has run out."""
    try:
        yield
    except errors as error:
        if ran_out(error):
            raise
        reason = getattr(error, "strerror", None) or "not a path"
        raise WriteError(f"cannot write {path} ({reason}): free space or choose another folder") from error


def _part_name(name: str) -> str:
    """The name itself, or a short one in its place where the system allows no more letters."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= LONGEST_NAME - ROOM else hashlib.sha256(encoded).hexdigest()[:12]


def _remove_leftovers(folder: Path, name: str) -> None:
    """Remove unfinished files of processes that have ended; ``name`` is a pattern for the finished ones."""
    for part in folder.glob(f".{name}.*.part"):
        process = part.name.split(".")[-2]
        if process.isdecimal() and not number_runs(int(process)):
            with suppress(OSError):
                part.unlink()


@contextmanager
def claimed(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Reserve ``folder``, which is made if it is missing, for this process; the system frees it when the process ends.

    Only the process that has the folder writes there, so unfinished files in it were left by killed processes: they
    are deleted.

    If another process has the folder, ``wait`` until it is free. Raises HkdsrError if ``wait`` is false in that case,
    and if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=-1 if wait else 0).acquire()
    except Timeout as error:
        raise HkdsrError(
            f"another process trains in {folder}: wait until it has ended or choose another 'out'"
        ) from error
    except OSError as error:
        raise HkdsrError(f"cannot write {folder} ({error.strerror}): choose another 'out'") from error
    with lock:
        _remove_leftovers(folder, "*")
        yield
