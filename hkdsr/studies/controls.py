"""The control rows: what plain training makes of the seconds that the dearest method took.

Their number of steps follows from the results of all other rows, so nothing has to be kept, and a study that gets a
dearer row later gets longer controls.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from hkdsr.studies.results import Result, read_result
from hkdsr.studies.study import LONGER, TEACHER, Row, Study, Task, references, training, trainings

NOT_SLICEABLE = "not_sliceable"
"""The fact of the teacher's result that says why slice initialisation is not defined; empty where it is."""


@dataclass(frozen=True)
class Controls:
    """``steps`` of each of ``rows``; ``why`` tells where the number comes from.

    ``missing`` tells why there is no row with slice initialisation; it is empty where there is one.
    """

    rows: tuple[Row, ...]
    steps: int
    why: str
    missing: str


def row_results(study: Study, row: Row, steps: int) -> list[Result]:
    """Those that are there already, by seed."""
    found = (read_result(study, training(study, row, seed, steps)) for seed in study.seeds)
    return [result for result in found if result]


def controls(study: Study, failed: Collection[str] = ()) -> Controls | None:
    """The control rows as soon as their steps are known; None before, and for a study without a plain row.

    They are known once the teacher is scored if the study sets them, else once every other run is finished, or has
    ``failed``: those are names of runs, which do not count. Raises HkdsrError for results that are damaged or from
    other settings.
    """
    teacher = read_result(study, Task(TEACHER, TEACHER))
    known = None if teacher is None or study.longer_steps == 0 else _steps(study, failed)
    if teacher is None or known is None:
        return None
    missing = teacher.facts[NOT_SLICEABLE]
    rows = [row for row in LONGER if not (missing and row.init == "slice")]
    return Controls(tuple(rows), *known, missing)


def all_tasks(study: Study, failed: Collection[str] = ()) -> list[Task]:
    """Everything that can be done as yet: the controls are among it once their steps are known."""
    known = controls(study, failed)
    more = trainings(study, known.rows, known.steps) if known else []
    return [*references(), *trainings(study, study.rows, study.training.steps), *more]


def _steps(study: Study, failed: Collection[str]) -> tuple[int, str] | None:
    """How many, and why so many."""
    if study.plain is None:
        return None
    if study.longer_steps is not None:
        return study.longer_steps, "as the study sets them"
    runs = trainings(study, study.rows, study.training.steps)
    if any(read_result(study, run) is None and run.name not in failed for run in runs):
        return None
    found = {row.label: row_results(study, row, study.training.steps) for row in study.rows}
    seconds = {label: _seconds(results) for label, results in found.items() if results}
    return _affordable(seconds, study) if study.plain.label in seconds else None


def _affordable(seconds: Mapping[str, float], study: Study) -> tuple[int, str]:
    assert study.plain is not None
    plain, steps = study.plain.label, study.training.steps
    dearest = max(seconds, key=lambda label: seconds[label])
    return (
        max(round(steps * seconds[dearest] / seconds[plain]), steps),
        f"as many as take '{plain}' the seconds of '{dearest}', its teacher's preparation left out",
    )


def _seconds(results: Sequence[Result]) -> float:
    return fmean(result.cost.seconds for result in results if result.cost)
