"""The steps that fit into a budget, and the runs of a study with budgets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import floor

from hkdsr.settings.choices import TeacherImages
from hkdsr.studies.budgets.measurement import RowMeasurement, read_measurement
from hkdsr.studies.study import Row, Study, Task, run_of


@dataclass(frozen=True)
class Plan:
    """What a row does with a budget: its ``steps``, 0 for no run, and where the teacher's images come from.

    ``preparation`` and ``step``, the seconds before the first step and of a step, are those measured.
    """

    steps: int
    teacher_images: TeacherImages
    preparation: float
    step: float


def plan(measured: RowMeasurement, seconds: float) -> Plan:
    """The plan of a row for a budget of ``seconds``: with the teacher's images that allow more steps."""
    plans = []
    for images, step in measured.step.items():
        preparation = measured.preparation(images)
        plans.append(Plan(steps_within(seconds, preparation, step), images, preparation, step))
    return max(plans, key=lambda made: (made.steps, -made.preparation))


def steps_within(seconds: float, preparation: float, step: float) -> int:
    """The whole steps of ``step`` seconds, above 0, that fit into ``seconds`` after ``preparation`` seconds."""
    return max(floor((seconds - preparation) / step), 0)


def plans(study: Study, budget: str) -> dict[str, Plan]:
    """The plans of all rows for one of the study's budgets, by label; none before every row is measured.

    Raises HkdsrError as ``read_measurement`` does.
    """
    found = read_measurement(study)
    if len(found) < len(study.rows):
        return {}
    return {label: plan(row, study.seconds[budget]) for label, row in found.items()}


def budget_runs(study: Study) -> list[Task]:
    """The runs of all budgets, the shortest first, and all rows of a budget; the first seed before the others."""
    budgets = {budget: plans(study, budget) for budget in sorted(study.budgets, key=lambda text: study.seconds[text])}
    return [
        budget_run(study, budget, row, made[row.label], seed)
        for seed in study.seeds
        for budget, made in budgets.items()
        for row in study.rows
        if made and made[row.label].steps
    ]


def budget_run(study: Study, budget: str, row: Row, made: Plan, seed: int) -> Task:
    """The run of a row with one seed; the folder's name has the budget in seconds, as ``logits-60s-1``."""
    name = f"{row.short_name}-{study.seconds[budget]:.10g}s-{seed}"
    return run_of(
        study, row, name, seed, made.steps, dataclasses.replace(study.exits, teacher_images=made.teacher_images)
    )
