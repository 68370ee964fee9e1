"""One task of a study in a process of its own: its memory is measured apart, and a crash takes nothing else with it.

``python -m hkdsr.studies.runs.worker STUDY.toml TASK`` is what ``hkdsr compare`` starts. The process claims its task by a
lock file, which the system frees when it dies, and it ends with the process that started it, which holds its standard
input.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from hkdsr.studies.controls import all_tasks
from hkdsr.studies.results import finished
from hkdsr.studies.study import Study, read_study
from hkdsr.errors import HkdsrError

logger = logging.getLogger(__name__)

MISTAKE, BUSY, INTERRUPTED = 2, 3, 130
# In the folder of locks beside those of the tasks, whose names have no dot in front.
PREPARING = ".preparing"


def lock(study: Study, name: str) -> FileLock:
    """Held by the process that does the task of this name; Timeout at once if another one does.

    Raises HkdsrError if the study's folder cannot be written.
    """
    folder = study.out / ".locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HkdsrError(f"cannot write {folder} ({error.strerror}): choose another 'out'") from error
    return FileLock(folder / f"{name}.lock", timeout=0)


def main() -> None:
    """Claim the task and perform it; the exit code tells a user's mistake (2) from a task at work elsewhere (3).

    Runs that failed are named after it: the control rows depend on them.
    """
    path, name, *failed = sys.argv[1:]
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    logging.getLogger("hkdsr").setLevel(logging.INFO)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        study = read_study(Path(path))
        task = next((task for task in all_tasks(study, failed) if task.name == name), None)
        if task is None:
            raise HkdsrError(f"{path} has no run {name} any more: start the study again")
        with lock(study, task.name):
            if not finished(study, task):
                logger.info("continues" if (study.out / task.name).exists() else "starts")
                from hkdsr.studies.runs.perform import perform

                perform(study, task, lock(study, PREPARING))
    except Timeout:
        sys.exit(BUSY)
    except HkdsrError as error:
        logger.error("%s", error)
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _end_with_parent() -> None:
    # Not sys.stdin: a thread that holds it keeps the process from ending in order.
    os.read(0, 1)
    # Not sys.exit, which would only end this thread. Whatever is cut off here is done again.
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
