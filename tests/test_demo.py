"""The demo, on a tenth of its budget: every row and image is there, and nothing is trained on what is scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hkdsr.demo import TEACHER, demo, demo_recipe
from hkdsr.nets.files.load import load
from hkdsr.scoring import evaluate_set


def test_the_teacher_is_worth_learning_from(shared: Path) -> None:
    network = load(TEACHER)
    set5 = evaluate_set(network, shared / "benchmarks" / "Set5", network.scale)
    assert set5.psnr_y > 37, "the model card says 37.16 dB"


def test_demo_compares_and_reports(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # With so few steps the averaged weights are hardly trained: what is checked is that all of it comes together.
    report = demo(tmp_path, steps=40)
    rows = {line[:22].strip(): line for line in caplog.messages if line[:22].strip() in LABELS}
    assert set(rows) == set(LABELS)
    page = report.read_text(encoding="utf-8")
    assert all(label in page for label in (*LABELS, "chelsea", "coffee", "flower"))
    steps = {name: last_step(tmp_path / name) for name in ("plain", "hkdsr", "plain-longer")}
    assert steps["plain"] == steps["hkdsr"] == 40
    assert steps["plain-longer"] > 40, "a distillation step was not dearer than a plain one"
    trained_on = {path.stem for path in (tmp_path / "train").iterdir()}
    assert not trained_on & {path.stem for path in (tmp_path / "scoring").iterdir()}


LABELS = ("bicubic", "plain, equal steps", "plain, equal seconds", "HKDSR", "teacher")


def last_step(folder: Path) -> int:
    return max(json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines())


@pytest.mark.parametrize("steps", [1, 100])
def test_recipe_stays_in_its_folder(tmp_path: Path, steps: int) -> None:
    recipe = demo_recipe(tmp_path, steps)
    paths = [recipe.out, *recipe.data.train, recipe.data.val, recipe.data.cache]
    assert all(path is not None and path.is_relative_to(tmp_path) for path in paths)
