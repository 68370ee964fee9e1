"""Writing files so that a kill or a full disk never leaves half of one, nor two processes mix theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hkdsr.errors import HkdsrError


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside ``path``, flush to disk, then rename: afterwards there is the old file or the new one.

    Makes missing folders. Raises HkdsrError naming the file when it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise HkdsrError(f"cannot write {path} ({error.strerror}): free space or choose another folder") from error
    finally:
        # Gone already after the rename; what a failure or Ctrl-C left is of no use, and may not even exist.
        with suppress(OSError):
            part.unlink()


@contextmanager
def claimed(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold ``folder``, which is made if it is missing, for this process; the system frees it when the process dies.

    Where another process holds it, ``wait`` until it is free. Raises HkdsrError where that is not asked for, and if the
    folder cannot be written.
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
        yield


def entries(folder: Path) -> list[Path]:
    """What is in ``folder``, by name. Raises HkdsrError if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise HkdsrError(f"cannot look into {folder} ({error.strerror}): change its permissions or move it") from error


def same_file(one: Path, other: Path) -> bool:
    """Whether both are there and are one file or folder, under whatever names."""
    return one.exists() and other.exists() and one.samefile(other)
