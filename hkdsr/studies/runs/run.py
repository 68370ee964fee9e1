"""``hkdsr compare``: do every task of a study that nobody else is at, then write the leaderboard.

Several of these processes, on one machine or on several GPUs, may run the same study at once: tasks are claimed through
lock files. A task is finished when its result is written; one that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import Timeout

from hkdsr.studies.controls import all_tasks
from hkdsr.studies.board.leaderboard import write_leaderboard
from hkdsr.studies.results import finished
from hkdsr.studies.study import Study, Task, read_study
from hkdsr.studies.runs.worker import BUSY, INTERRUPTED, MISTAKE, lock
from hkdsr.errors import HkdsrError

logger = logging.getLogger(__name__)

POLL = 2.0


def compare(study: str | Path) -> Path:
    """Run the study in the TOML file ``study`` to its end; returns the leaderboard's Markdown file.

    Whatever is done already stays; after a kill, the same command continues.

    Raises HkdsrError for every mistake a user can mend. A run that fails does not keep the others from being done: they
    are, the leaderboard is written without it, and the error comes then.
    """
    path = Path(study)
    runner = _Runner(path, read_study(path))
    runner.work()
    written = write_leaderboard(runner.study, path.stem, runner.failures)
    logger.info("leaderboard: %s", written)
    if runner.failures:
        name, reason = next(iter(runner.failures.items()))
        more = f" (and {len(runner.failures) - 1} more failed)" if len(runner.failures) > 1 else ""
        raise HkdsrError(f"the run {name} failed{more}: {reason}")
    return written


class _Runner:
    """Does one task after the other, each in a process of its own."""

    def __init__(self, path: Path, study: Study) -> None:
        self.study, self._path = study, path
        self.failures: dict[str, str] = {}

    def work(self) -> None:
        """Until nothing is left to do; waits for tasks that other processes are at, lest one of them dies.

        Raises HkdsrError if a reference cannot be scored: then no run could be.
        """
        while open_tasks := self._open():
            # Only the first that is done: what is open may be known better after it.
            if not any(self._attempt(task) for task in open_tasks if not finished(self.study, task)):
                time.sleep(POLL)

    def _open(self) -> Sequence[Task]:
        tasks = all_tasks(self.study, self.failures)
        return [task for task in tasks if task.name not in self.failures and not finished(self.study, task)]

    def _attempt(self, task: Task) -> bool:
        """Do the task unless another process is at it; whether it ended, well or not."""
        try:
            with lock(self.study, task.name):
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
                logger.warning("%s: %s", task.name, self.failures[task.name])
        return True

    def _in_child(self, task: Task) -> tuple[int, str]:
        """Exit code and last line of the task's process, which ends when this one does: it reads from it."""
        command = [sys.executable, "-m", "hkdsr.studies.runs.worker", str(self._path), task.name, *self.failures]
        last = ""
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.rstrip()
                logger.info("%s: %s", task.name, last)
        return process.returncode, last
