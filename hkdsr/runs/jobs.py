"""Distillations as processes of their own: each is ``hkdsr distill``, and outlives the program that starts it.

In the run's folder are ``job.json``, with what was asked for and the process, and ``output.log`` with what it printed.
A program that is started later finds them there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.processes import Process
from hkdsr.runs.asked import Asked, require_allowed
from hkdsr.runs.folder import JOB, found, inside
from hkdsr.runs.readings import end_of, parsed

LOG = "output.log"
TAIL = 1 << 14
"""Bytes of the end of a log that are shown at most."""
MOST = 4
"""Distillations that run at the same time: each takes a whole processor or GPU."""
CHECK_SECONDS = 300
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n\t -~\u00a0-\uffff]")
NAME = re.compile(r"[\w][\w.+-]*(/[\w][\w.+-]*)*")
LONGEST = 100


class Jobs:
    """The distillations in the folder ``runs``, from files in it and in the folders ``given``.

    Every method that takes the name of a run raises HkdsrError for None and for one outside of that folder.
    """

    def __init__(self, runs: Path, given: Sequence[Path]) -> None:
        self._runs, self._folders, self._starting = runs.resolve(), [*given, runs], Lock()

    def command(self, asked: Asked) -> str:
        """What to type in a terminal for the same. Raises HkdsrError for what may not be started."""
        return shlex.join(["hkdsr", "distill", *self._arguments(asked)])

    def check(self, asked: Asked) -> str:
        """What ``hkdsr distill --check`` prints. Raises HkdsrError for the mistakes that it finds."""
        command = _command([*self._arguments(asked), "--check"])
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise HkdsrError(
                f"the check took more than {CHECK_SECONDS} s: run the command in a terminal with --check"
            ) from error
        if done.returncode:
            raise HkdsrError(_reason(done.stderr))
        return done.stdout.strip()

    def start(self, asked: Asked) -> None:
        """Start it, or continue it if the run's folder has a checkpoint.

        Raises HkdsrError if it may not be started, if the folder has a running training, or if too many run.
        """
        arguments = self._arguments(asked)
        folder = self._folder(asked.name)
        with self._starting:
            running = [run.folder for run in found(self._runs) if run.state == "running"]
            if folder in running:
                raise HkdsrError(f"{asked.name} is being trained: stop it first, or choose another name")
            if sum((path / JOB).is_file() for path in running) >= MOST:
                raise HkdsrError(f"{MOST} distillations of this page are running: stop one, or wait for one to end")
            process = _started(_command(arguments), folder)
            content = {"asked": dataclasses.asdict(asked), "process": dataclasses.asdict(process)}
            write_atomically(folder / JOB, json.dumps(content, indent=1).encode())

    def stop(self, name: str | None) -> None:
        """Ask the run ``name`` to end after its current step, with a checkpoint.

        Raises HkdsrError if no process that the page started trains there.
        """
        process = Process.read(self._job(name).get("process"))
        if process is None or not process.runs:
            raise HkdsrError(f"no distillation of this page runs in {name}: stop it where it was started, by Ctrl-C")
        with suppress(ProcessLookupError):  # it has ended in this moment
            os.kill(process.pid, signal.SIGTERM)

    def resume(self, name: str | None) -> None:
        """Continue the run ``name`` with the same settings. Raises HkdsrError as ``start`` does."""
        self.start(self.asked(name))

    def asked(self, name: str | None) -> Asked:
        """What the run ``name`` was started with. Raises HkdsrError if the page has not started it."""
        try:
            return Asked(**self._job(name)["asked"] | {"name": name})
        except (LookupError, TypeError) as error:
            raise HkdsrError(f"{name} was not started from this page: run its command again where it was") from error

    def names(self) -> list[str]:
        """The runs that this page or an earlier one started, those that wrote last first."""
        runs = (run for run in found(self._runs) if (run.folder / JOB).is_file())
        return [run.name for run in sorted(runs, key=lambda run: -run.changed)]

    def log(self, name: str | None, lines: int = 30) -> str:
        """The last ``lines`` that the run ``name`` printed; empty where there are none."""
        text = end_of(self._folder(name) / LOG, TAIL)
        # What a progress bar has drawn over is gone.
        shown = [CONTROL.sub("", line.rstrip("\r").rpartition("\r")[2]) for line in text.split("\n")]
        return "\n".join([line for line in shown if line.strip()][-lines:])

    def _arguments(self, asked: Asked) -> list[str]:
        require_allowed(asked, [folder.resolve() for folder in self._folders])
        return asked.arguments(self._folder(asked.name))

    def _folder(self, name: str | None) -> Path:
        if not name or not NAME.fullmatch(name) or len(name) > LONGEST:
            raise HkdsrError(f"the name of the run is {name!r}: write one of letters, digits and - _ .")
        return inside(self._runs, name)

    def _job(self, name: str | None) -> dict[str, Any]:
        content = parsed(end_of(self._folder(name) / JOB))
        return content if isinstance(content, dict) else {}


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "hkdsr", "distill", *arguments]


def _started(command: list[str], folder: Path) -> Process:
    """A process in a session of its own, so that neither Ctrl-C nor a closed terminal ends it with the page."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
    except OSError as error:
        raise HkdsrError(f"cannot write {folder} ({error.strerror}): choose another name or --runs") from error
    Thread(target=process.wait, daemon=True).start()  # else it would stay among the processes when it has ended
    return Process.of(process.pid)


def _reason(printed: str) -> str:
    """The sentence that a command ended with."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()] or ["it ended without a reason"]
    return CONTROL.sub("", lines[-1]).removeprefix("hkdsr distill: ")
