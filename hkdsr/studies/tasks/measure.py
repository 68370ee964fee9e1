"""Measuring what the rows of a study take: the seconds of a training step and of the preparation before the first.

Every row takes the steps of its real training, one row after another in several rounds, so that other work of the
machine slows all alike; medians over the rounds count. Rows with the same preparation share its measurement. Nothing
is taken from the caches or added to them, but the decoded images.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

from hkdsr.devices import pick_device
from hkdsr.errors import HkdsrError
from hkdsr.settings.choices import TeacherImages
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.studies.budgets.measurement import (
    RowMeasurement,
    linked,
    measured_settings,
    read_measurement,
    write_measurement,
)
from hkdsr.studies.study import MEASUREMENT, Row, Study, training
from hkdsr.studies.tasks.machine import device_name
from hkdsr.studies.tasks.workbench import Stepper, Workbench

logger = logging.getLogger(__name__)

WARM_UP, ROUNDS, STEPS = 3, 7, 6
"""Steps of each row before the first round; rounds; steps of each row in a round."""


def measure(study: Study) -> None:
    """Measure the rows of the study that are not measured yet, and add them to its measurement.

    Where other rows are measured already, one of them is measured again beside the new ones, whose seconds are then
    those of the time when it was measured first.

    Raises HkdsrError, naming the row, for a row that cannot be trained.
    """
    known = read_measurement(study)
    rows = [row for row in study.rows if row.label not in known]
    again = sorted((row for row in study.rows if row.label in known), key=lambda row: not row.is_plain)[:1]
    folder = study.out / MEASUREMENT / "temporary"
    shutil.rmtree(folder, ignore_errors=True)  # what a killed measurement left
    try:
        found = _measured(study, [*again, *rows], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    new = {row.label: found[row.label] for row in rows}
    if again:
        label = again[0].label
        new = linked(new, known, found[label].step, known[label].step)
    write_measurement(study, new)


def _measured(study: Study, rows: Sequence[Row], folder: Path) -> dict[str, RowMeasurement]:
    """The measurements of the rows, by label."""
    recipes = {row.label: _recipe(study, row, folder) for row in rows}
    device = pick_device(study.training.device)
    bench = Workbench(next(iter(recipes.values())), folder, device)
    parts: dict[str, tuple[float, float, float]] = {}
    with ExitStack() as stack:
        steppers: dict[tuple[str, TeacherImages], Stepper] = {}
        without: dict[tuple[str, TeacherImages], Stepper] = {}
        stage1: Stepper | None = None
        for label, recipe in recipes.items():
            logger.info("measuring the preparation of '%s'", label)
            try:
                parts[label] = _preparation(bench, recipe)
                for images in bench.ways(recipe):
                    always = dataclasses.replace(recipe, method_from=0.0, method_until=1.0, method_fade="none")
                    steppers[label, images] = stack.enter_context(closing(bench.stepper(always, images)))
                    if _used(recipe) < 1:
                        never = dataclasses.replace(always, method_until=0.0)
                        without[label, images] = stack.enter_context(closing(bench.stepper(never, images)))
                if _has_exits(recipe) and not stage1 and (stage1 := bench.stage1_stepper(recipe)):
                    stack.enter_context(closing(stage1))
            except HkdsrError as error:
                raise HkdsrError(f"row '{label}': {error}") from error
        logger.info("measuring the steps of %d rows", len(rows))
        every = [*steppers.values(), *without.values(), *([stage1] if stage1 else [])]
        seconds = dict(zip(every, _interleaved(every), strict=True))
    step = {key: seconds[stepper] for key, stepper in steppers.items()}
    for key, stepper in without.items():
        used = _used(recipes[key[0]])
        step[key] = used * step[key] + (1 - used) * seconds[stepper]
    heads = study.exits.stage1_steps * seconds[stage1] if stage1 else 0.0
    return {
        row.label: RowMeasurement(
            measured_settings(study, row),
            device_name(device, study.training.precision),
            parts[row.label][0],
            parts[row.label][1] + (heads if _has_exits(recipes[row.label]) else 0.0),
            parts[row.label][2],
            {images: mean for (label, images), mean in step.items() if label == row.label},
        )
        for row in rows
    }


def _preparation(bench: Workbench, recipe: DistillRecipe) -> tuple[float, float, float]:
    """Seconds of the pruned start, of the check of the teacher's exits, and of the teacher's images."""
    start = bench.start(recipe) if recipe.init == "prune" else 0.0
    check = bench.exit_check(recipe) if _has_exits(recipe) else 0.0
    cached = recipe.method.uses_teacher and "cached" in bench.ways(recipe)
    return start, check, bench.images(recipe) if cached else 0.0


def _interleaved(steppers: Sequence[Stepper]) -> list[float]:
    """The median seconds of a step of each, after a warm-up."""
    for stepper in steppers:
        stepper.seconds(WARM_UP)
    rounds = [[stepper.seconds(STEPS) for stepper in steppers] for _ in range(ROUNDS)]
    return [median(seconds) for seconds in zip(*rounds, strict=True)]


def _used(recipe: DistillRecipe) -> float:
    """The share of the steps in which the method is used."""
    return recipe.method_until - recipe.method_from


def _has_exits(recipe: DistillRecipe) -> bool:
    return recipe.method.uses_teacher and recipe.method.resolved(recipe.scale, recipe.init).uses_exits


def _recipe(study: Study, row: Row, folder: Path) -> DistillRecipe:
    recipe = training(study, row, study.seeds[0], study.training.steps).recipe
    assert recipe is not None
    return dataclasses.replace(recipe, out=folder / "out")
