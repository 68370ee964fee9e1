"""The control rows: plain training for as many seconds as the slowest method took.

Their number of steps follows from the results of all other rows, so it is stored nowhere, and a study that later gets a
slower row gets longer controls.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from hkdsr.studies.budgets.plan import budget_runs
from hkdsr.studies.results import Result, read_result
from hkdsr.studies.study import CONTROL_ROWS, MEASUREMENT, TEACHER, Row, Study, Task, references, training, trainings

NOT_SLICEABLE = "not_sliceable"
"""Key in the facts of the teacher's result: why slice initialisation is not defined; empty where it is."""


@dataclass(frozen=True)
class Controls:
    """Each of ``rows`` trains for ``steps``; ``reason`` says where that number comes from.

    ``not_sliceable`` says why there is no row with slice initialisation; it is empty where there is one.
    """

    rows: tuple[Row, ...]
    steps: int
    reason: str
    not_sliceable: str


def row_results(study: Study, row: Row, steps: int) -> list[Result]:
    """The results of a row that exist already, in the order of the seeds."""
    found = (read_result(study, training(study, row, seed, steps)) for seed in study.seeds)
    return [result for result in found if result]


def controls(study: Study, failed: Collection[str] = ()) -> Controls | None:
    """The control rows once their steps are known; None before, and for a study with budgets or without a plain row.

    The steps are known once the teacher is scored if the study sets them. Otherwise they are known once every other
    run is finished or has ``failed``: those are names of runs, which do not count. Raises HkdsrError for results that
    are damaged or from other settings.
    """
    teacher = read_result(study, Task(TEACHER, TEACHER))
    without = study.longer_steps == 0 or study.budgets
    known = None if teacher is None or without else _steps(study, failed)
    if teacher is None or known is None:
        return None
    not_sliceable = teacher.facts[NOT_SLICEABLE]
    rows = [row for row in CONTROL_ROWS if not (not_sliceable and row.init == "slice")]
    return Controls(tuple(rows), *known, not_sliceable)


def all_tasks(study: Study, failed: Collection[str] = ()) -> list[Task]:
    """Every task that is known so far: runs are included once their steps are known."""
    if study.budgets:
        return [*references(), Task(MEASUREMENT, MEASUREMENT), *budget_runs(study)]
    known = controls(study, failed)
    more = trainings(study, known.rows, known.steps) if known else []
    return [*references(), *trainings(study, study.rows, study.training.steps), *more]


def _steps(study: Study, failed: Collection[str]) -> tuple[int, str] | None:
    """The number of steps, and the reason for it."""
    if study.plain is None:
        return None
    if study.longer_steps is not None:
        return study.longer_steps, "as the study sets them"
    runs = trainings(study, study.rows, study.training.steps)
    if any(read_result(study, run) is None and run.name not in failed for run in runs):
        return None
    found = {row.label: row_results(study, row, study.training.steps) for row in study.rows}
    seconds = {label: _mean_seconds(results) for label, results in found.items() if results}
    return _equal_time(seconds, study) if study.plain.label in seconds else None


def _equal_time(seconds: Mapping[str, float], study: Study) -> tuple[int, str]:
    assert study.plain is not None
    plain, steps = study.plain.label, study.training.steps
    slowest = max(seconds, key=lambda label: seconds[label])
    return (
        max(round(steps * seconds[slowest] / seconds[plain]), steps),
        f"so that '{plain}' trains for as many seconds as '{slowest}' (the preparation of its teacher not counted)",
    )


def _mean_seconds(results: Sequence[Result]) -> float:
    return fmean(result.cost.seconds for result in results if result.cost)
