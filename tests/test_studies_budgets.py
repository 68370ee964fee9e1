"""Budgets: the steps that fit, which teacher's images are used, what is refused, and what a measurement is kept for."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import tiny_study
from hypothesis import given
from hypothesis import strategies as st

from hkdsr.errors import HkdsrError
from hkdsr.methods import Logits
from hkdsr.settings.choices import TeacherImages
from hkdsr.settings.recipe import ExitSettings, Training
from hkdsr.studies.budgets.measurement import (
    RowMeasurement,
    linked,
    measured,
    read_measurement,
    write_measurement,
)
from hkdsr.studies.budgets.plan import Plan, plan, plans, steps_within
from hkdsr.studies.controls import all_tasks, controls
from hkdsr.studies.study import Row, Study, read_study
from hkdsr.studies.tasks.measure import measure

TEXT = """
teacher = "t.safetensors"
budgets = ["60 s", "4 min"]
[training]
batch = 8
[[rows]]
label = "none"
"""
SECONDS = st.floats(1e-3, 1e6)


def row(step: dict[TeacherImages, float], start: float = 0, exits: float = 0, images: float = 0) -> RowMeasurement:
    return RowMeasurement({}, "1 CPU thread", start, exits, images, step)


@given(SECONDS, st.floats(0, 1e6), SECONDS)
def test_as_many_whole_steps_as_fit(seconds: float, preparation: float, step: float) -> None:
    steps = steps_within(seconds, preparation, step)
    assert steps >= 0
    slack = 1e-9 * (seconds + preparation)
    assert steps == 0 or preparation + steps * step <= seconds + slack
    assert preparation + (steps + 1) * step >= seconds - slack


@given(SECONDS, SECONDS, SECONDS, st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_images_that_allow_more_steps(
    seconds: float, cached: float, live: float, images: float, start: float
) -> None:
    both = plan(row({"cached": cached, "live": live}, start, 0, images), seconds)
    alone = [plan(row({"cached": cached}, start, 0, images), seconds), plan(row({"live": live}, start), seconds)]
    assert both in alone
    assert both.steps == max(made.steps for made in alone)


def test_a_long_budget_pays_for_the_teachers_images() -> None:
    measured = row({"cached": 0.1, "live": 0.125}, start=10, exits=5, images=20)
    assert plan(measured, 60) == Plan(360, "live", 15, 0.125)
    assert plan(measured, 240) == Plan(2050, "cached", 35, 0.1)
    assert plan(measured, 12) == Plan(0, "live", 15, 0.125)
    assert plan(row({"auto": 0.5}), 60) == Plan(120, "auto", 0, 0.5)


@pytest.mark.parametrize(
    ("old", "new", "naming"),
    [
        ("batch = 8", "steps = 100", "sets budgets and training.steps: leave out training.steps"),
        ("batch = 8", "steps = 20000", "sets budgets and training.steps: leave out training.steps"),
        ("batch = 8", "minutes = 1", "training.minutes is set"),
        (
            'budgets = ["60 s", "4 min"]',
            'budgets = ["60 s"]\nlonger_steps = 0',
            "longer_steps is 0 in a study",
        ),
        ('"4 min"', '"1 min"', r"budgets has a duration twice \(60 s, 1 min\): name each once"),
        ('"4 min"', '"4 minutes"', "budgets has '4 minutes', which is no duration"),
        ('"4 min"', "240", "budgets is 240: give text"),
    ],
)
def test_mistakes_are_named(old: str, new: str, naming: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(HkdsrError, match=naming) as error:
        read_study(path)
    assert "study.toml" in str(error.value)


def test_one_budget_needs_no_list(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(TEXT.replace('["60 s", "4 min"]', '"60 s"'))
    assert read_study(path).seconds == {"60 s": 60}


def test_runs_are_known_once_every_row_is_measured(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path, budgets=("4 min", "60 s"))
    tiny_study.references(study)
    before = ["bicubic", "teacher", "measurement"]
    assert [task.name for task in all_tasks(study)] == before
    tiny_study.measure(study, {"none": row({"auto": 0.5}), "logits": row({"cached": 0.5, "live": 1.0}, images=70)})
    assert not measured(study)
    assert [task.name for task in all_tasks(study)] == before
    tiny_study.measure(study, {"FAKD": row({"cached": 1.0, "live": 0.9}, start=61, images=60)})
    assert measured(study)
    found = {task.name: task.recipe for task in all_tasks(study) if task.recipe}
    # The shortest budget first; in 60 s FAKD's preparation leaves nothing.
    names = ["none-60s-1", "logits-60s-1", "none-240s-1", "logits-240s-1", "fakd-240s-1", "none-60s-2"]
    assert list(found)[:6] == names
    assert len(found) == 10
    chosen = {name: (recipe.training.steps, recipe.exits.teacher_images) for name, recipe in found.items()}
    assert chosen["none-60s-1"] == (120, "auto")
    assert chosen["logits-60s-1"] == (60, "live")
    assert chosen["logits-240s-2"] == (340, "cached")
    assert chosen["fakd-240s-1"] == (198, "live")
    assert found["logits-240s-2"].training.seed == 2
    assert found["logits-240s-2"].out == tmp_path / "logits-240s-2"
    assert controls(study) is None


def test_a_measurement_is_kept_and_belongs_to_its_settings(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path, budgets=("60 s",))
    rows = {made.label: row({"auto": 0.5}) for made in study.rows}
    tiny_study.measure(study, rows)
    kept = plans(study, "60 s")
    tiny_study.measure(study, {label: row({"auto": 0.1}) for label in rows})
    assert plans(study, "60 s") == kept
    for changed, name in (
        ({"training": Training(steps=100, batch=3)}, "training.batch"),
        ({"training": Training(steps=100, threads=2)}, "training.threads"),
        ({"exits": ExitSettings(teacher_images="live")}, "exits.teacher_images"),
        ({"rows": (*study.rows[:1], Row("logits", Logits(teacher_weight=2.0)))}, "method.teacher_weight"),
        ({"rows": (Row("none", init="slice"),)}, "init"),
    ):
        with pytest.raises(HkdsrError, match=rf"measured with other settings \({name}\): restore them"):
            read_measurement(dataclasses.replace(study, **changed))
    # What the speed does not depend on may change, as may the budgets and the seeds.
    again = dataclasses.replace(study, seeds=(7,), budgets=("1 h",), sets=("SetB",))
    assert plans(again, "1 h")["none"].steps == 7200


@pytest.mark.parametrize("value", ["0.0", "-1.0", "NaN", "Infinity", '"fast"', "null"])
def test_a_damaged_measurement_is_named(value: str, tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path, budgets=("60 s",), rows=(Row("none"),))
    tiny_study.measure(study, {"none": row({"auto": 0.5})})
    path = tmp_path / "measurement" / "result.json"
    path.write_text(path.read_text().replace("0.5", value))
    with pytest.raises(HkdsrError, match=r"result\.json is damaged or from another version: delete it"):
        read_measurement(study)


def test_rows_that_come_later_are_linked_by_a_row_that_is_measured_again() -> None:
    known = {"none": row({"auto": 0.1}), "HKDSR": row({"cached": 0.2, "live": 0.3}, exits=4, images=6)}
    new = {
        "pruned": row({"auto": 0.22}, start=30),
        "HKDSR+": row({"cached": 0.6, "live": 0.9}, exits=9, images=13),
        "logits": row({"cached": 0.3, "live": 0.5}, images=10),
    }
    # The machine takes twice as long now.
    found = linked(new, known, {"auto": 0.2}, {"auto": 0.1})
    assert found["pruned"] == row({"auto": 0.11}, start=15)
    # What a known row has too is as there; images with and without exits are different.
    assert found["HKDSR+"] == row({"cached": 0.3, "live": 0.45}, exits=4, images=6)
    assert found["logits"] == row({"cached": 0.15, "live": 0.25}, images=5)


def tiny_with_budgets(folder: Path, rows: str) -> Study:
    return read_study(tiny_study.timed(folder, rows=rows))


def test_measuring(tmp_path: Path) -> None:
    """Every row gets the numbers that it needs and no others; a later row leaves the earlier ones as they are."""
    rows = '[[rows]]\nlabel = "HKDSR"\nmethod = {name = "hkdsr"}\n'
    study = tiny_with_budgets(tmp_path, rows)
    measure(study)
    first = read_measurement(study)
    ways = {label: list(found.step) for label, found in first.items()}
    assert ways == {"none": ["auto"], "HKDSR": ["cached", "live"]}
    parts = {label: [part > 0 for part in (f.start, f.exits, f.images)] for label, f in first.items()}
    assert parts == {"none": [False, False, False], "HKDSR": [False, True, True]}
    # Nothing of it stays, in particular no images or exits that the runs would find.
    assert [path.name for path in (tmp_path / "out" / "measurement").iterdir()] == ["result.json"]
    assert not list((tmp_path / "cache").glob("exits-*")) + list((tmp_path / "cache").glob("derived-*"))
    rows += '[[rows]]\nlabel = "logits"\nmethod = {name = "logits"}\n'
    measure(tiny_with_budgets(tmp_path, rows))
    second = read_measurement(tiny_with_budgets(tmp_path, rows))
    assert {label: second[label] for label in first} == first
    assert [part > 0 for part in (second["logits"].start, second["logits"].exits, second["logits"].images)] == [
        False,
        False,
        True,
    ]
    assert all(math.isfinite(plan(found, 60).steps) for found in second.values())
    stored = json.loads((tmp_path / "out" / "measurement" / "result.json").read_text())
    assert stored.keys() == {"none", "HKDSR", "logits"}


def test_a_row_that_cannot_be_measured_is_named(tmp_path: Path) -> None:
    """This student has one block, and HKDSR needs exits before the last."""
    path = tiny_study.timed(tmp_path, rows='[[rows]]\nlabel = "HKDSR"\nmethod = {name = "hkdsr"}\n')
    path.write_text(path.read_text().replace("convs=4", "convs=1"))
    with pytest.raises(HkdsrError, match="row 'HKDSR': an exit of"):
        measure(read_study(path))
    assert not (tmp_path / "out" / "measurement" / "temporary").exists()


def test_writing_adds_rows(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path, budgets=("60 s",))
    write_measurement(study, {"b": row({"auto": 1.0})})
    write_measurement(study, {"a": row({"auto": 2.0}), "b": row({"auto": 3.0})})
    stored = json.loads((tmp_path / "measurement" / "result.json").read_text())
    assert {label: found["step"] for label, found in stored.items()} == {"a": {"auto": 2.0}, "b": {"auto": 1.0}}
