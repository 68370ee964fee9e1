"""Child processes that work on many cases each, within limits; one that dies has found a fault."""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.fuzz.cases import FAULT

SECONDS = 60
MEMORY = 2 << 30
"""Bytes that a case may take beyond what the process has from the start."""

Work = Callable[[str, Path], str]
"""From a case and an empty folder to its outcome."""


@dataclass
class _Child:
    pid: int
    file: FileIO
    left: list[str]


def outcomes(cases: Sequence[str], work: Work, workers: int = 2, seconds: int = SECONDS) -> Iterator[tuple[str, str]]:
    """Each case and its outcome, as they come, from ``workers`` children of this process.

    A child that is killed, by the limits of time or memory or by a crash, is a fault of the case it was at; another
    takes over the rest. Call it from a process with a single thread.
    """
    with selectors.DefaultSelector() as selector:
        for index in range(workers):
            _start(list(cases[index::workers]), work, seconds, selector)
        while selector.get_map():
            for key, _ in selector.select():
                child: _Child = key.data
                line = child.file.readline()
                if line:
                    yield child.left.pop(0), json.loads(line)
                    continue
                selector.unregister(child.file)
                child.file.close()
                _, code = os.waitpid(child.pid, 0)
                if child.left:
                    yield child.left.pop(0), f"{FAULT}: {_death(code, seconds)}"
                    _start(child.left, work, seconds, selector)


def _death(code: int, seconds: int) -> str:
    if not os.WIFSIGNALED(code):
        return f"the process ended with code {os.waitstatus_to_exitcode(code)}"
    if os.WTERMSIG(code) == signal.SIGALRM:
        return f"it took over {seconds} s"
    return f"the process was killed by {signal.Signals(os.WTERMSIG(code)).name}"


def _start(cases: list[str], work: Work, seconds: int, selector: selectors.BaseSelector) -> None:
    if not cases:
        return
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        file = os.fdopen(reading, "rb", buffering=0)  # else lines could wait in a buffer that no selector sees
        selector.register(file, selectors.EVENT_READ, _Child(pid, file, cases))
        return
    try:
        os.close(reading)
        limit = _size() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for case in cases:
            with TemporaryDirectory(prefix="fuzz-") as folder:
                signal.alarm(seconds)
                said = work(case, Path(folder))
                signal.alarm(0)
            os.write(writing, (json.dumps(said) + "\n").encode())
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)  # a forked process must not run what its parent does at its end
    os._exit(0)


def _size() -> int:
    """Address space of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
