"""``hkdsr compare``: do every task of a study that nobody else is at, then write the leaderboard.

Several of these processes, on one machine or on several GPUs, may run the same study at once: tasks are claimed through
lock files. A task is finished when its result is written; one that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import Timeout

from hkdsr.compare.controls import all_tasks
from hkdsr.compare.leaderboard import write_leaderboard
from hkdsr.compare.results import finished
from hkdsr.compare.study import Study, Task, read_study
from hkdsr.compare.worker import BUSY, INTERRUPTED, MISTAKE, Say, lock
from hkdsr.errors import HkdsrError

POLL = 2.0


def compare(path: Path, say: Say = lambda text: None) -> Path:
    """Run the study in the TOML file ``path`` to its end; returns the leaderboard's Markdown file.

    Whatever is done already stays; the same command goes on where a killed one stopped. ``say`` receives what a user
    should read.

    Raises HkdsrError for every mistake a user can mend. A run that fails does not keep the others from being done: they
    are, the leaderboard is written without it, and the error comes then.
    """
    study = read_study(path)
    runner = _Runner(path, study, say)
    runner.work()
    written = write_leaderboard(study, path.stem, runner.failures)
    say(f"leaderboard: {written}")
    if runner.failures:
        name, reason = next(iter(runner.failures.items()))
        more = f" (and {len(runner.failures) - 1} more failed)" if len(runner.failures) > 1 else ""
        raise HkdsrError(f"the run {name} failed{more}: {reason}")
    return written


class _Runner:
    """Does one task after the other, each in a process of its own."""

    def __init__(self, path: Path, study: Study, say: Say) -> None:
        self._path, self._study, self._say = path, study, say
        self.failures: dict[str, str] = {}

    def work(self) -> None:
        """Until nothing is left to do; waits for tasks that other processes are at, lest one of them dies.

        Raises HkdsrError if a reference cannot be scored: then no run could be.
        """
        while open_tasks := self._open():
            # Only the first that is done: what is open may be known better after it.
            if not any(self._attempt(task) for task in open_tasks if not finished(self._study, task)):
                time.sleep(POLL)

    def _open(self) -> Sequence[Task]:
        tasks = all_tasks(self._study, self.failures)
        return [task for task in tasks if task.name not in self.failures and not finished(self._study, task)]

    def _attempt(self, task: Task) -> bool:
        """Do the task unless another process is at it; whether it ended, well or not."""
        try:
            with lock(self._study, task.name):
                pass
        except Timeout:
            return False
        code, last = self._in_child(task)
        if code == BUSY:
            return False
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code == MISTAKE and task.recipe is None:
            raise HkdsrError(last)
        if code:
            self.failures[task.name] = last if code == MISTAKE else f"its process ended with exit code {code}"
            if code != MISTAKE:
                self._say(f"{task.name}: {self.failures[task.name]}")
        return True

    def _in_child(self, task: Task) -> tuple[int, str]:
        """Exit code and last line of the task's process, which ends when this one does: it reads from it."""
        command = [sys.executable, "-m", "hkdsr.compare.worker", str(self._path), task.name, *self.failures]
        last = ""
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.rstrip()
                self._say(f"{task.name}: {last}")
        return process.returncode, last
