"""One task of a study in a process of its own: its memory is measured separately, and a crash ends no other task.

``hkdsr compare`` starts it as ``python -m hkdsr.studies.tasks.child_process STUDY.toml TASK``. The process claims its
task by a lock file, which the system releases when the process dies. It ends when the process that started it ends:
that one holds its standard input open.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from hkdsr.errors import HkdsrError
from hkdsr.studies.controls import all_tasks
from hkdsr.studies.results import finished
from hkdsr.studies.study import Study, read_study

logger = logging.getLogger(__name__)

MISTAKE, BUSY, INTERRUPTED = 2, 3, 130
PREPARING = ".preparing"
"""Name of the lock for preparing a teacher; no task's name begins with a dot."""


def lock(study: Study, name: str) -> FileLock:
    """The lock that the process holds which does the task of this name.

    Acquiring it raises Timeout at once where another process holds it. Raises HkdsrError if the study's folder cannot
    be written.
    """
    folder = study.out / ".locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HkdsrError(f"cannot write {folder} ({error.strerror}): choose another 'out'") from error
    return FileLock(folder / f"{name}.lock", timeout=0)


def main() -> None:
    """Claim the task and do it. Exit code 2: a user's mistake; 3: another process does the task.

    Further arguments are the names of runs that failed: the control rows depend on them.
    """
    path, name, *failed = sys.argv[1:]
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    logging.getLogger("hkdsr").setLevel(logging.INFO)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        study = read_study(Path(path))
        task = next((task for task in all_tasks(study, failed) if task.name == name), None)
        if task is None:
            raise HkdsrError(f"{path} no longer has the run {name}: start the study again")
        with lock(study, task.name):
            if not finished(study, task):
                logger.info("continues" if (study.out / task.name).exists() else "starts")
                from hkdsr.studies.tasks.run_task import run_task

                run_task(study, task, lock(study, PREPARING))
    except Timeout:
        sys.exit(BUSY)
    except HkdsrError as error:
        logger.error("%s", error)
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _end_with_parent() -> None:
    # Not sys.stdin: a thread that reads from it would block the normal end of the process.
    os.read(0, 1)
    # A signal, since sys.exit would only end this thread. Work that is interrupted here is repeated.
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
