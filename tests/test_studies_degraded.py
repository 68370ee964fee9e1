"""Studies on degraded images, and on LR images alone."""

from __future__ import annotations

from pathlib import Path

import tiny_study
from small import refusal

from hkdsr.nets.files.load import metadata
from hkdsr.settings.degrade import Degrade
from hkdsr.studies.controls import all_tasks
from hkdsr.studies.leaderboard.write import write_leaderboard
from hkdsr.studies.results import read_result
from hkdsr.studies.study import read_study
from hkdsr.studies.tasks.child_process import PREPARING, lock
from hkdsr.studies.tasks.run_task import run_task

DEGRADED = """[degrade]
preset = "real-esrgan"
variants = 1
[exits]"""
LOGITS = """label = "logits"
method = {name = "logits"}"""


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    """A study of three steps with one row, with some of its text changed."""
    path = tiny_study.trainable(folder, steps=3)
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


LR_ONLY = (("patch = 12", "patch = 12\nlr_only = true"), ('target = "hr"', ""))


def test_rows_are_trained_on_degraded_lr_images_alone(tmp_path: Path) -> None:
    path = written(tmp_path, *LR_ONLY, ('label = "none"', LOGITS), ("[exits]", DEGRADED))
    study = read_study(path)
    assert study.degrade == Degrade("real-esrgan", variants=1)
    tasks = all_tasks(study)
    (row,) = (task for task in tasks if task.recipe)
    assert row.recipe
    assert row.recipe.degrade == study.degrade
    for task in tasks:
        run_task(study, task, lock(study, PREPARING))
    assert all_tasks(study) == tasks  # no controls, which would need HR
    result = read_result(study, row)
    assert result
    assert result.cost
    assert result.cost.steps == 3
    assert "real-esrgan" in metadata(row.recipe.out / "student.safetensors")["recipe"]
    write_leaderboard(study, "title", {})
    table = (study.out / "leaderboard.md").read_text()
    assert "Trained on images as LR images, without HR, degraded by real-esrgan: 3 steps" in table


def test_a_row_without_a_teacher_is_refused_where_there_is_no_hr(tmp_path: Path) -> None:
    said = refusal(lambda: read_study(written(tmp_path, *LR_ONLY)))
    assert "row 'none': data.lr_only is set, but the method 'none' learns from HR alone" in said
