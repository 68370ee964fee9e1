"""Memory that runs out: how libraries say it, and the one sentence that the user is told."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hkdsr.errors import HkdsrError

# Python, NumPy and the system have exceptions of their own for it, PyTorch on the CPU, oneDNN, Pillow's decoders,
# safetensors and ONNX Runtime have only words.
WORDS = re.compile(
    r"out of memory|allocate memory|(unable|tried) to allocate|bad.alloc|ALLOC_FAILED"
    r"|could not (create|execute) a (primitive(?! desc)|memory)",
    re.IGNORECASE,
)

CUT = "cut it into smaller images, or free memory"
"""What helps if an image does not fit into memory."""


class OutOfMemoryError(HkdsrError):
    """Memory has run out where no smaller pieces of work are left to try."""


def ran_out(error: BaseException) -> bool:
    """Whether ``error``, of whatever library, says that memory has run out."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM  # its text also names a file, which may be called anything
    return isinstance(error, Exception) and not isinstance(error, HkdsrError) and bool(WORDS.search(str(error)))


def fits(work: Callable[[], object]) -> bool:
    """Do ``work``; returns false if memory runs out for it, so that smaller pieces can be tried."""
    try:
        work()
        return True
    except Exception as error:
        if not ran_out(error):
            raise
    # Only out of the handler: an error keeps what its functions had in hand.
    return False


@contextmanager
def needed_for(what: str, remedy: str) -> Iterator[None]:
    """Where memory runs out inside, raises OutOfMemoryError: "``what`` does not fit into memory: ``remedy``"."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        # An error keeps what its functions had in hand, which is what memory has run out for.
        traceback.clear_frames(error.__traceback__)
        raise OutOfMemoryError(f"{what} does not fit into memory: {remedy}") from error
