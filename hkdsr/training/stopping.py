"""Ending a training in order by SIGTERM, which systems send before they end a process: no step is lost."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_waits = False
_asked = False


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM ends a training after its current step, with a checkpoint.

    Before the first step, and the second time, it acts as Ctrl-C does. To be called in the main thread.
    """
    global _asked
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _asked = False


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Inside, the training waits for what it gives to be true, and then ends by itself."""
    global _waits
    _waits = True
    try:
        yield lambda: _asked
    finally:
        _waits = False


def _stop(number: int, frame: FrameType | None) -> None:
    global _asked
    if not _waits or _asked:
        raise KeyboardInterrupt
    _asked = True
