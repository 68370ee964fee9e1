"""Results on disk: what comes back is what was written, and what is not a task's own result is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import tiny_study

from hkdsr.errors import HkdsrError
from hkdsr.methods import Logits
from hkdsr.settings.recipe import ExitSettings
from hkdsr.studies.results import Result, finished, read_result, settings_of, write_result
from hkdsr.studies.study import TEACHER, Task, training


def test_round_trip(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    task = training(study, study.rows[1], 2, 100)
    assert read_result(study, task) is None
    sets = {"SetA": tiny_study.images(30.123456789, 31.0), "SetB": tiny_study.images(29.0)}
    result = Result(settings_of(study, task), sets, {"data_sha256": "d"}, tiny_study.COST)
    write_result(study, task, result)
    assert read_result(study, task) == result
    assert finished(study, task)
    assert not finished(dataclasses.replace(study, sets=("SetA", "SetC")), task)
    reference = Task(TEACHER, TEACHER)
    tiny_study.finish(study, reference, [1.0])
    found = read_result(study, reference)
    assert found is not None
    assert found.cost is None


def test_other_settings_are_named(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    tiny_study.finish_all(study)
    changed = dataclasses.replace(study, training=dataclasses.replace(study.training, lr=3e-3, batch=7))
    with pytest.raises(HkdsrError, match=r"none-1 was made with other settings \(training\.batch, training\.lr\): set"):
        read_result(changed, training(changed, study.rows[0], 1, 100))
    row = dataclasses.replace(study.rows[1], method=Logits(teacher_weight=2.0))
    with pytest.raises(HkdsrError, match=r"\(method\.teacher_weight\)"):
        read_result(study, training(study, row, 1, 100))
    other = dataclasses.replace(study, teacher="another.pth", student="compact:features=8,convs=1")
    with pytest.raises(HkdsrError, match=r"teacher was made with other settings \(student, teacher\)"):
        read_result(other, Task(TEACHER, TEACHER))


def test_settings_that_change_no_weight_may_change(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    tiny_study.finish_all(study)
    free = dataclasses.replace(
        study,
        training=dataclasses.replace(study.training, threads=3, save_every=7, device="cuda"),
        # Exits count for no row of this study.
        exits=ExitSettings(stage1_steps=7),
        root=tmp_path / "elsewhere",
    )
    assert read_result(free, training(free, study.rows[1], 1, 100)) is not None


def test_a_setting_newer_than_the_result_counts_as_its_default(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    task = training(study, study.rows[1], 1, 100)
    tiny_study.finish(study, task, [30.0])
    path = tmp_path / task.name / "result.json"
    content = json.loads(path.read_text())
    del content["settings"]["method.teacher_weight"]
    path.write_text(json.dumps(content))
    assert read_result(study, task) is not None
    row = dataclasses.replace(study.rows[1], method=Logits(teacher_weight=2.0))
    with pytest.raises(HkdsrError, match=r"\(method\.teacher_weight\)"):
        read_result(study, training(study, row, 1, 100))


@pytest.mark.parametrize("damage", ["", "[]", '{"settings": {}}', '{"sets": {"SetA": {}}, "cost": null}', "\x00"])
def test_damage_is_named(damage: str, tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    task = training(study, study.rows[0], 1, 100)
    tiny_study.finish(study, task, [30.0])
    (tmp_path / task.name / "result.json").write_text(damage)
    with pytest.raises(HkdsrError, match=r"result\.json is damaged or from another version: delete it"):
        read_result(study, task)
