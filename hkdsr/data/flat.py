"""Flat uint8 files of images: written in full, with checksums, and with HkdsrError when the disk is full."""

from __future__ import annotations

import errno
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np

from hkdsr.errors import HkdsrError
from hkdsr.memory import OutOfMemoryError, ran_out


def write(file: FileIO, image: np.ndarray) -> None:
    """Write all bytes of ``image`` at the file's position: an unbuffered file may take fewer than it is offered."""
    left = np.ascontiguousarray(image).reshape(-1).data
    while left:
        left = left[file.write(left) :]


def checksum(*images: np.ndarray) -> int:
    """CRC-32 of all bytes of uint8 images: several GB a second, and enough to notice damage."""
    total = 0
    for image in images:
        total = zlib.crc32(np.ascontiguousarray(image).reshape(-1).data, total)
    return total


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turns errors of the operating system, while files in ``folder`` are written, into HkdsrError."""
    try:
        yield
    except OSError as error:
        if ran_out(error):
            raise OutOfMemoryError(f"the files in {folder} do not fit into memory: free memory") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = (
                f"the disk of {folder} is full: free some space on it, or set data.cache to a folder on another disk"
            )
        else:
            message = f"cannot write to {folder} ({error.strerror}): set data.cache to a folder where you may write"
        raise HkdsrError(message) from error


def check_space(folder: Path, size: int) -> None:
    """Raises HkdsrError if the disk of ``folder`` has less than ``size`` bytes free."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise HkdsrError(
            f"the disk of {folder} has {free / 1e6:,.0f} MB free and the images need {size / 1e6:,.0f} MB: "
            "free some space on it, or set data.cache to a folder on another disk"
        )


def sync_folder(folder: Path) -> None:
    """Make the entries of ``folder`` outlast a power cut, where the system can (Windows cannot open folders)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
