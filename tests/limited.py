"""Work with little memory, time or room on the disk, and what becomes of it."""

from __future__ import annotations

import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hkdsr.errors import HkdsrError

MB = 1 << 20


def status(name: str) -> int:
    """An entry of /proc/self/status, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) // 1024


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may grow past ``size`` bytes, as on a full disk: writing to it fails with "File too large"."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def outcome(work: Callable[[], object], room: int, seconds: int = 20) -> str:
    """``work()`` in a child that may take ``room`` MB more than this process has, for ``seconds``.

    "result", "refused: SENTENCE", "FAULT: what was raised", or "FAULT: signal N".
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        said = "FAULT: no outcome"
        try:
            limit = (status("VmSize") + room) * MB
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            signal.alarm(seconds)
            said = _said(work)
            os.write(writing, said.encode(errors="replace")[:60_000])
        finally:
            os._exit(0)  # a forked process must not run what pytest does at its end
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode()
    _, code = os.waitpid(child, 0)
    return f"FAULT: signal {os.WTERMSIG(code)}" if os.WIFSIGNALED(code) else said


def _said(work: Callable[[], object]) -> str:
    try:
        work()
    except HkdsrError as error:
        return f"refused: {error}"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"FAULT: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    return "result"
