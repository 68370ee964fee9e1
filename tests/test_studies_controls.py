"""Control rows: how many steps the dearest method's seconds buy, and which rows there are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tiny_study

from hkdsr.methods import Logits
from hkdsr.studies.controls import NOT_SLICEABLE, all_tasks, controls
from hkdsr.studies.results import read_result, write_result
from hkdsr.studies.study import TEACHER, Row, Study, Task

LEFT_OUT = "its teacher's preparation left out"
LABELS = ["plain, longer", "slice init, plain, longer"]


def known(study: Study) -> tuple[list[str], int, str, str]:
    found = controls(study)
    assert found is not None
    return [row.label for row in found.rows], found.steps, found.why, found.missing


def test_they_wait_for_every_other_row(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    assert controls(study) is None
    assert [task.name for task in all_tasks(study)] == [
        "bicubic",
        "teacher",
        *(f"{row}-{seed}" for seed in (1, 2) for row in ("none", "logits", "fakd")),
    ]
    tiny_study.references(study)
    tiny_study.finish_row(study, study.rows[0], [[32.0], [32.0]], 10.0)
    tiny_study.finish_row(study, study.rows[1], [[32.0], [32.0]], 15.0)
    tiny_study.finish_row(study, study.rows[2], [[32.0]], 25.0)
    assert controls(study) is None
    tiny_study.finish_row(study, study.rows[2], [[32.0], [32.0]], 25.0)
    assert known(study) == (LABELS, 250, f"as many as take 'none' the seconds of 'FAKD', {LEFT_OUT}", "")
    assert [task.name for task in all_tasks(study)][-4:] == [
        "plain-longer-250-1",
        "slice-init-plain-longer-250-1",
        "plain-longer-250-2",
        "slice-init-plain-longer-250-2",
    ]


def test_their_steps_are_never_fewer(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path, rows=tiny_study.ROWS[:2])
    tiny_study.references(study)
    tiny_study.finish_row(study, study.rows[0], [[32.0], [32.0]], 10.0)
    tiny_study.finish_row(study, study.rows[1], [[32.0], [32.0]], 9.0)
    assert known(study)[1] == 100


def test_steps_that_the_study_sets_are_known_at_once(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path, longer_steps=300)
    assert controls(study) is None
    tiny_study.references(study)
    assert known(study) == (LABELS, 300, "as the study sets them", "")


def test_a_pair_that_cannot_be_sliced_says_why(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path, longer_steps=300)
    tiny_study.references(study)
    task = Task(TEACHER, TEACHER)
    result = read_result(study, task)
    assert result is not None
    reason = "the teacher is of family edsr"
    write_result(study, task, dataclasses.replace(result, facts={**result.facts, NOT_SLICEABLE: reason}))
    assert known(study) == (LABELS[:1], 300, "as the study sets them", reason)


def test_a_study_without_a_plain_row_has_none(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path, rows=(Row("logits", Logits()),))
    tiny_study.references(study)
    tiny_study.finish_row(study, study.rows[0], [[32.0], [32.0]])
    assert controls(study) is None


def test_runs_that_failed_do_not_keep_them_waiting(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    tiny_study.references(study)
    tiny_study.finish_row(study, study.rows[0], [[32.0], [32.0]], 10.0)
    tiny_study.finish_row(study, study.rows[1], [[32.0]], 15.0)
    assert controls(study, ["logits-2", "fakd-1"]) is None
    found = controls(study, ["logits-2", "fakd-1", "fakd-2"])
    assert found is not None
    assert found.steps == 150
    assert all_tasks(study, ["logits-2", "fakd-1", "fakd-2"])[-1].name == "slice-init-plain-longer-150-2"
    (tmp_path / "other").mkdir()
    without_plain = tiny_study.study(tmp_path / "other")
    tiny_study.references(without_plain)
    assert controls(without_plain, [task.name for task in all_tasks(without_plain)]) is None


def test_a_study_may_do_without(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path, longer_steps=0)
    tiny_study.references(study)
    for row in study.rows:
        tiny_study.finish_row(study, row, [[32.0], [32.0]], 10.0)
    assert controls(study) is None
