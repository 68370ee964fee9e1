"""Rows of a study that use their method in a part of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_study

from hkdsr.methods import Logits
from hkdsr.studies.study import Row, describe_row, read_study, training
from hkdsr.studies.tasks import measure
from hkdsr.studies.tasks.workbench import Stepper
from hkdsr.training.distiller import Distiller

LATE = '[[rows]]\nlabel = "late"\nmethod = {name = "logits"}\nmethod_from = 0.75\n'


def test_rows_have_their_times(tmp_path: Path) -> None:
    path = tiny_study.trainable(tmp_path, rows=LATE)
    study = read_study(path)
    recipes = {row.label: training(study, row, 1, 4).recipe for row in study.rows}
    times = {label: (recipe.method_from, recipe.method_until) for label, recipe in recipes.items() if recipe}
    assert times == {"none": (0.0, 1.0), "late": (0.75, 1.0)}
    assert describe_row(study.rows[1]) == "logits, from 75 % to 100 % of the steps"
    row = Row("a", Logits(), method_until=0.5, method_fade="out", share=0.5)
    assert describe_row(row) == "logits, from 0 % to 50 % of the steps, fading out, 50 % of the images"


def test_steps_with_and_without_the_method_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interleaved(steppers: Sequence[Stepper]) -> list[float]:
        """4 s for a step with the method, 1 s without."""
        found = []
        for stepper in steppers:
            stepper.seconds(1)
            module = stepper._steps.module  # pyright: ignore[reportPrivateUsage]
            assert isinstance(module, Distiller)
            found.append(4.0 if module.weight else 1.0)
        return found

    monkeypatch.setattr(measure, "_interleaved", interleaved)
    rows = LATE + LATE.replace("late", "always").replace("0.75", "0.0")
    study = read_study(tiny_study.timed(tmp_path, rows=rows))
    measure.measure(study)
    found = measure.read_measurement(study)
    assert set(found["late"].step.values()) == {0.25 * 4 + 0.75 * 1}
    assert set(found["always"].step.values()) == {4.0}
