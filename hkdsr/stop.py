"""Work that another thread may stop, even in the middle of a call to a library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np

from hkdsr.errors import HkdsrError


class CancelledError(HkdsrError):
    """Whoever asked for the work has had enough."""

    def __init__(self) -> None:
        super().__init__("cancelled: start again, if you like")


class Stop:
    """An order to stop, which any thread may give, once. Calls that are under way are ended by it."""

    def __init__(self) -> None:
        self._lock, self._enders, self._given = Lock(), list[Callable[[], object]](), False

    def give(self) -> None:
        """Stop the work, now or when it begins."""
        with self._lock:
            self._given = True
            for end in self._enders:
                end()

    def check(self, *_: object) -> None:
        """Raise CancelledError if the work is to stop. Takes what hooks of PyTorch are given."""
        if self._given:
            raise CancelledError

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Inside, in this thread, networks that ONNX Runtime runs stop too; then this raises CancelledError."""
        token = _heeded.set(self)
        try:
            yield
        except Exception as error:
            if self._given:  # whatever the libraries say when they are ended
                raise CancelledError from error
            raise
        finally:
            _heeded.reset(token)

    @contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Inside, the order calls ``end`` at once, from the thread that gives it."""
        with self._lock:
            self._enders.append(end)
            if self._given:
                end()
        try:
            yield
        finally:
            with self._lock:
                self._enders.remove(end)


_heeded: ContextVar[Stop | None] = ContextVar("heeded", default=None)


def run_onnx(session: Any, inputs: Mapping[str, np.ndarray]) -> list[Any]:
    """The outputs of a session of ONNX Runtime. It ends between two of its layers if a heeded ``Stop`` is given."""
    stop = _heeded.get()
    if stop is None:
        return session.run(None, inputs)
    options = import_module("onnxruntime").RunOptions()
    with stop.ending(lambda: setattr(options, "terminate", True)):
        return session.run(None, inputs, options)
