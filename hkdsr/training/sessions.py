"""The log of a training's sessions: at which step each began and ended, and on what machine.

A training may be stopped and continued many times, on GPUs and CPUs. ``sessions.jsonl``, one JSON object a line, says
which steps were done where.
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
from hkdsr.paths import exists
from hkdsr.training.context import Context

FILE = "sessions.jsonl"


class Session:
    """One session of the training in ``context.folder``, logged when it begins: a killed session has no end there.

    Its line holds ``began`` (UTC), ``from_step``, the ``steps`` and ``milestones`` that the training had then, the
    name of the ``device``, ``threads`` if that is a CPU, the number of ``processes`` and the version of ``torch``; when
    it has ended, also ``to_step`` and its ``seconds`` of training.
    """

    def __init__(self, context: Context) -> None:
        self._folder = context.folder
        # Sessions of a training that was begun again from the start do not count.
        self._earlier = read_sessions(self._folder) if context.step else []
        device = context.device
        self._line: dict[str, Any] = {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "from_step": context.step,
            "steps": context.settings.steps,
            "milestones": context.settings.milestones,
            "device": _name(device),
            **({"threads": torch.get_num_threads()} if device.type == "cpu" else {}),
            "processes": context.processes.size,
            "torch": torch.__version__,
        }
        self._write()

    def ended(self, step: int, seconds: float) -> None:
        """Log that it ended at ``step`` (of the whole training) after ``seconds`` of training in this session."""
        self._line |= {"to_step": step, "seconds": round(seconds, 1)}
        self._write()

    def _write(self) -> None:
        lines = "".join(json.dumps(line) + "\n" for line in [*self._earlier, self._line])
        write_atomically(self._folder / FILE, lines.encode())


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """The sessions of the training in ``folder``, first to last; none without the file.

    Raises HkdsrError if the file is damaged.
    """
    path = folder / FILE
    if not exists(path):
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise HkdsrError(f"{path} is damaged or not a log of sessions: move it away") from error


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}"
