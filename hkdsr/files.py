"""Writing files so that neither a kill nor a full disk leaves a part of one, and only one process uses a folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hkdsr.errors import HkdsrError

TEMPORARY = ".hkdsr-{}.part"
"""Name of an unfinished file. It does not contain the final name, which may have the greatest length allowed."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside ``path``, flush to disk, then rename: afterwards there is the old file or the new one.

    Makes missing folders. Raises HkdsrError naming the file when it cannot be written.
    """
    temporary = _temporary(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise HkdsrError(f"cannot write {path} ({error.strerror}): free space or choose another folder") from error
    finally:
        # After the rename it is gone; after a failure or Ctrl-C it may be there or not.
        with suppress(OSError):
            temporary.unlink()


def check_writable(path: Path) -> None:
    """Find out before a long computation whether the file or folder ``path`` can be written, without making it.

    Raises HkdsrError if not.
    """
    path = path.expanduser().absolute()
    nearest = next(one for one in (path, *path.parents) if one.exists())
    temporary = _temporary(path.parent if path.is_file() else nearest)
    try:
        temporary.write_bytes(bytes(1))
    except OSError as error:
        raise HkdsrError(f"cannot write {path} ({error.strerror}): free space or choose another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


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
        for left in folder.glob(TEMPORARY.format("*")):
            left.unlink(missing_ok=True)
        yield


def same_file(one: Path, other: Path) -> bool:
    """Whether both exist and are one file or folder, possibly under different names."""
    return one.exists() and other.exists() and one.samefile(other)


def _temporary(folder: Path) -> Path:
    return folder / TEMPORARY.format(f"{os.getpid()}-{secrets.token_hex(4)}")
