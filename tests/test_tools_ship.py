"""A run becomes a shipped network whose card tells the truth."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import test_weights
import tiny

from hkdsr.methods import Logits
from hkdsr.nets.load import load
from hkdsr.training.run import distill
from tools import ship


def test_a_run_becomes_a_network_with_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=7, minutes=0.0)
    distill(recipe)
    student = distill(tiny.recipe(tmp_path, Logits(), steps=7)).network
    tiny.photographs(tmp_path / "benchmarks" / "Set5")
    weights = tmp_path / "weights"
    monkeypatch.setattr(ship, "WEIGHTS", weights)
    monkeypatch.setattr(ship, "SETS", ("Set5",))
    monkeypatch.setattr(
        sys,
        "argv",
        ["ship", str(recipe.out), "mine_x2", "--recipe", "mine.toml", "--benchmarks", str(tmp_path / "benchmarks")],
    )
    ship.main()
    path = weights / "mine_x2.safetensors"
    test_weights.test_file_and_card_agree(path)
    state = load(path).state_dict()
    assert tiny.equal(state, {name: value.half().float() for name, value in student.state_dict().items()})
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "`mine.toml`: teacher.safetensors distilled by `logits`. 7 of 7 steps of 3" in card
    assert "12x12 LR pixels, seed 3," in card
    assert "steps 0 to 1 in " in card
    assert "; 1 to 7 in " in card
    score = ship.evaluate_sets(load(path), "Set5", tmp_path / "benchmarks")[0]
    assert f"| PSNR-Y | {score.psnr_y:.2f} |" in card
