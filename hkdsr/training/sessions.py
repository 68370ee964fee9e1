"""The log of a training's sessions: where each began and ended, on what machine.

A training may be ended and gone on with many times, on a GPU while one is at hand and on a CPU otherwise. Which weights
came from where is told by ``sessions.jsonl``, one JSON object a session.
"""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically

FILE = "sessions.jsonl"


class Session:
    """One session of a training in ``folder``, written down at once: a killed session stays there, without an end.

    Its line holds ``began`` (UTC), ``from_step``, ``device`` with its name, ``threads`` where that is a CPU, the number
    of ``processes`` and the version of ``torch``; once it ended, ``to_step`` and its ``seconds`` of training.
    """

    def __init__(self, folder: Path, step: int, device: torch.device, processes: int) -> None:
        self._folder = folder
        self._earlier = read_sessions(folder) if step else []  # a fresh start owes nothing to earlier ones
        self._line: dict[str, Any] = {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "from_step": step,
            "device": _name(device),
            **({"threads": torch.get_num_threads()} if device.type == "cpu" else {}),
            "processes": processes,
            "torch": torch.__version__,
        }
        self._write()

    def ended(self, step: int, seconds: float) -> None:
        """At ``step`` (of the whole training), after ``seconds`` of training in this session."""
        self._line |= {"to_step": step, "seconds": round(seconds, 1)}
        self._write()

    def _write(self) -> None:
        lines = "".join(json.dumps(line) + "\n" for line in [*self._earlier, self._line])
        write_atomically(self._folder / FILE, lines.encode())


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """The sessions of the training in ``folder``, first to last; none if it has no such file.

    Raises HkdsrError for a file that is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise HkdsrError(f"{path} is damaged or no log of sessions: move it away") from error


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}"
