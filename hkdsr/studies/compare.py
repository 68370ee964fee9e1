"""``hkdsr compare``: do every task of a study that no other process does, and write the leaderboard after each.

Several of these processes, on one machine or on several GPUs, may run the same study at once: tasks are claimed through
lock files. A task is finished when its result is written; one that was killed continues from its last checkpoint.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import Timeout

from hkdsr.errors import HkdsrError
from hkdsr.studies.controls import all_tasks
from hkdsr.studies.leaderboard.write import write_leaderboard
from hkdsr.studies.results import finished
from hkdsr.studies.study import Study, Task, read_study
from hkdsr.studies.tasks.child_process import BUSY, INTERRUPTED, MISTAKE, lock

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0


def compare(study: str | Path) -> Path:
    """Run the study in the TOML file ``study`` to its end; returns the leaderboard's Markdown file.

    Results that exist are kept; after a kill, the same call continues.

    Raises HkdsrError for every mistake that the user can correct. If a run fails, the others are still done and the
    leaderboard is written without the failed one; then the error is raised.
    """
    path = Path(study)
    runner = _Runner(path, read_study(path))
    runner.work()
    written = runner.leaderboard()
    logger.info("leaderboard: %s", written)
    if runner.failures:
        name, reason = next(iter(runner.failures.items()))
        more = f" (and {len(runner.failures) - 1} more failed)" if len(runner.failures) > 1 else ""
        raise HkdsrError(f"the run {name} failed{more}: {reason}")
    return written


class _Runner:
    """Does one task after another, each in a process of its own."""

    def __init__(self, path: Path, study: Study) -> None:
        self.study, self._path = study, path
        self.failures: dict[str, str] = {}

    def work(self) -> None:
        """Do every task, and wait for those of other processes: if one of them dies, its task is done here.

        Raises HkdsrError if a reference cannot be scored, since no run could be scored then.
        """
        while open_tasks := self._open():
            # After each task the list is made again: its result may add control rows.
            if not any(self._attempt(task) for task in open_tasks if not finished(self.study, task)):
                time.sleep(POLL_SECONDS)
            elif self._open():
                with suppress(HkdsrError):  # too early for a leaderboard, or a mistake that the end reports
                    self.leaderboard()

    def leaderboard(self) -> Path:
        """Write the leaderboard of the results so far."""
        return write_leaderboard(self.study, self._path.stem, self.failures)

    def _open(self) -> Sequence[Task]:
        tasks = all_tasks(self.study, self.failures)
        return [task for task in tasks if task.name not in self.failures and not finished(self.study, task)]

    def _attempt(self, task: Task) -> bool:
        """Do the task unless another process does it; returns whether it ended, with success or not."""
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
        """Exit code and last line of the task's process, which ends when this process does: it reads from its pipe."""
        module = "hkdsr.studies.tasks.child_process"
        command = [sys.executable, "-m", module, str(self._path), task.name, *self.failures]
        last = ""
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.rstrip()
                logger.info("%s: %s", task.name, last)
        return process.returncode, last
