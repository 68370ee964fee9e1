"""The demo with few steps: every row and image is in the report, and nothing is trained on what is scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hkdsr.demo import EQUAL_SECONDS, EQUAL_STEPS, OURS, TEACHER, demo, demo_recipe, equal_time_steps
from hkdsr.nets.files.load import load
from hkdsr.scoring import evaluate_set
from hkdsr.training.log import read_log

LABELS = ("bicubic", EQUAL_STEPS, EQUAL_SECONDS, OURS, "teacher")


def test_the_teacher_is_better_than_bicubic_by_far(shared: Path) -> None:
    network = load(TEACHER)
    teacher, bicubic = (
        evaluate_set(each, shared / "benchmarks" / "Set5", network.scale).psnr_y for each in (network, None)
    )
    assert teacher > bicubic + 3


def test_demo_compares_and_reports(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = demo(tmp_path, steps=20)
    first_words = {message.split("  ")[0] for message in caplog.messages}
    assert first_words >= set(LABELS)
    page = report.read_text(encoding="utf-8")
    assert all(f'<th scope="row">{label}' in page for label in LABELS)
    assert all(f"<h3>{name}</h3>" in page for name in ("chelsea", "coffee", "flower"))
    steps = {name: read_log(tmp_path / name)[-1]["step"] for name in ("plain", "hkdsr", "plain-longer")}
    assert (steps["plain"], steps["hkdsr"]) == (20, 20)
    assert steps["plain-longer"] == equal_time_steps(tmp_path / "plain", tmp_path / "hkdsr", 20)
    trained_on = {path.stem for path in (tmp_path / "train").iterdir()}
    assert trained_on
    assert not trained_on & {path.stem for path in (tmp_path / "scoring").iterdir()}


def test_equal_time_is_that_of_the_fastest_intervals(tmp_path: Path) -> None:
    for name, seconds in (("plain", (9.0, 11.0, 20.0)), ("other", (8.0, 13.0, 30.0))):
        (tmp_path / name).mkdir()
        lines = [{"step": 10 * (i + 1), "seconds": s, "losses": {}} for i, s in enumerate(seconds)]
        (tmp_path / name / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    # 0.2 and 0.5 seconds a step.
    assert equal_time_steps(tmp_path / "plain", tmp_path / "other", 100) == 250


@pytest.mark.parametrize("steps", [1, 100])
def test_recipe_stays_in_its_folder(tmp_path: Path, steps: int) -> None:
    recipe = demo_recipe(tmp_path, steps)
    paths = [recipe.out, *recipe.data.train, recipe.data.val, recipe.data.cache]
    assert all(path is not None and path.is_relative_to(tmp_path) for path in paths)
