"""Whether a process still runs, told apart from a later one that the system gave the same number."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

ENDED = ("Z", "X")
"""States of processes that have ended, but whose parent has not yet asked how."""
STATE, STARTED = 0, 19
"""Places of two fields in ``/proc/PID/stat`` behind the program's name, see proc_pid_stat(5)."""


@dataclass(frozen=True)
class Process:
    """A process by its number on a ``host``, and when it ``started``.

    That is in clock ticks since the machine's start; None where the system has no ``/proc``.
    """

    host: str
    pid: int
    started: int | None = None

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process on this machine that has this number now."""
        fields = _fields(pid)
        return cls(platform.node(), pid, int(fields[STARTED]) if fields else None)

    @classmethod
    def read(cls, content: object) -> Process | None:
        """The process whose fields a file holds; None for anything else."""
        try:
            process = cls(**content) if isinstance(content, dict) else None
        except TypeError:
            return None
        return process if process and isinstance(process.pid, int) and process.pid > 0 else None

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, on this machine: of those on others nothing is known."""
        return self.host == platform.node()

    @property
    def runs(self) -> bool:
        """Whether it is on this machine and has not ended."""
        if not self.is_here or not number_runs(self.pid):
            return False
        fields = _fields(self.pid)
        if fields is None or self.started is None:
            return True
        return fields[STATE] not in ENDED and int(fields[STARTED]) == self.started


def number_runs(pid: int) -> bool:
    """Whether some process on this machine has the number ``pid``."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True


def _fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the name may hold brackets and spaces
