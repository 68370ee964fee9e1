"""What a training says about itself while it runs: its recipe, its process and, when it has ended, why.

``run.json`` is written when the run's folder is opened, long before the first weights: pages that watch trainings read
it. Nothing in it is needed to continue a run.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from hkdsr.errors import WriteError
from hkdsr.files import write_atomically
from hkdsr.processes import Process
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.settings.resume import flat_settings
from hkdsr.training.failure import Failure

FILE = "run.json"


@contextmanager
def announced(recipe: TrainRecipe | DistillRecipe) -> Iterator[None]:
    """While inside, ``run.json`` in the recipe's folder says which process trains there; afterwards that it has ended.

    It holds the flat settings as ``recipe``, the ``process``, when it ``began`` and ``ended`` (UTC; the latter is null
    while the process runs, and after a kill), and the ``error`` that it ended with, which is empty for a success.

    Raises WriteError where the file cannot be written.
    """
    line: dict[str, Any] = {
        "recipe": flat_settings(recipe),
        "process": dataclasses.asdict(Process.of(os.getpid())),
        "began": _now(),
        "ended": None,
        "error": "",
    }

    def write() -> None:
        write_atomically(recipe.out / FILE, json.dumps(line, indent=1).encode())

    write()
    try:
        yield
    except BaseException as error:
        line["error"] = "interrupted" if isinstance(error, KeyboardInterrupt) else Failure.of(error, 0).text
        raise
    finally:
        line["ended"] = _now()
        with suppress(WriteError):  # the training has ended all the same
            write()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
