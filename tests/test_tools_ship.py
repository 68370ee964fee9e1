"""A run becomes a shipped network with a card of facts."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import test_weights
import tiny

from hkdsr.errors import HkdsrError
from hkdsr.methods import Logits
from hkdsr.nets.files.load import load
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.resume import flat_settings
from hkdsr.training.run import distill
from tools import ship


def written(recipe: DistillRecipe, path: Path) -> Path:
    """The recipe as a file."""
    settings = flat_settings(recipe).items()
    path.write_text("\n".join(f"{name} = {text}" for name, text in settings if text != "null"))
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DistillRecipe:
    """A finished run in two sessions, and a benchmark set."""
    distill(tiny.recipe(tmp_path, Logits(), steps=7, minutes=0.0))
    recipe = tiny.recipe(tmp_path, Logits(), steps=7)
    distill(recipe)
    tiny.photographs(tmp_path / "benchmarks" / "Set5")
    monkeypatch.setattr(ship, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(ship, "SETS", ("Set5",))
    return recipe


def test_a_run_becomes_a_network_with_a_card(
    run: DistillRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = written(run, tmp_path / "mine.toml")
    arguments = [
        run.out,
        "mine_x2",
        "--recipe",
        recipe,
        "--benchmarks",
        tmp_path / "benchmarks",
        "--note",
        "Fine.",
    ]
    monkeypatch.setattr(sys, "argv", ["ship", *map(str, arguments)])
    ship.main()
    path = tmp_path / "weights" / "mine_x2.safetensors"
    test_weights.test_file_and_card_agree(path)
    state = load(path).state_dict()
    trained = load(run.out / "student.safetensors").state_dict()
    assert tiny.equal(state, {name: value.half().float() for name, value in trained.items()})
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    words = " ".join(card.split())
    assert f"`{recipe.as_posix()}`: teacher.safetensors distilled by `logits`. 7 of 7 steps of 3 crops" in words
    assert "12x12 LR pixels, seed 3," in words
    assert "steps 0 to 1 in " in words
    assert "; 1 to 7 in " in words
    assert (
        "images 3: 0.0 megapixels. None is from the sets below, and nothing was chosen by scores on them. Fine."
        in words
    )
    score = ship.evaluate(load(path), "Set5", tmp_path / "benchmarks")[0]
    assert f"| PSNR-Y | {score.psnr_y:.2f} |" in card


def test_without_hr_the_card_has_the_likeness_to_the_teacher_and_its_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dataclasses.replace(
        tiny.data(tiny.recipe(tmp_path, Logits(pixel_weight=0.0), steps=2), lr_only=True), target="auto"
    )
    distill(run)
    tiny.photographs(tmp_path / "benchmarks" / "Set5")
    monkeypatch.setattr(ship, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(ship, "SETS", ("Set5",))
    recipe = written(run, tmp_path / "mine.toml")
    ship.ship(run.out, "mine_x2", recipe, tmp_path / "benchmarks", "", "drawings", "Do as you like.\n")
    network = load(tmp_path / "weights" / "mine_x2.safetensors")
    (score,) = ship.evaluate(network, ["Set5"], tmp_path / "benchmarks", against=load(run.teacher))
    card = (tmp_path / "weights" / "mine_x2.md").read_text(encoding="utf-8")
    assert f"| PSNR-Y to the teacher | {score.psnr_y:.2f} |" in card
    assert "A x2 network for drawings: " in card
    assert card.endswith(
        "That of the teacher is below.\n\n## Licence of the teacher\n\n```text\nDo as you like.\n```\n"
    )
    (_, sha256) = ship.hashes(str(run.teacher)).popitem()
    assert sha256 in card


def test_a_run_that_its_card_would_not_describe_is_not_shipped(run: DistillRecipe, tmp_path: Path) -> None:
    benchmarks = tmp_path / "benchmarks"
    mine = written(run, tmp_path / "mine.toml")
    with pytest.raises(HkdsrError, match=r"mine_x3 is a x2 network: end its name in _x2"):
        ship.ship(run.out, "mine_x3", mine, benchmarks)
    other = dataclasses.replace(run, training=dataclasses.replace(run.training, seed=4))
    with pytest.raises(HkdsrError, match=r"than .*other\.toml \(training\.seed\): give the recipe of the run"):
        ship.ship(run.out, "mine_x2", written(other, tmp_path / "other.toml"), benchmarks)
    with pytest.raises(HkdsrError, match="there is no benchmark set"):
        ship.ship(run.out, "mine_x2", mine, tmp_path)
    part = written(tiny.data(run, share=0.5), tmp_path / "part.toml")
    with pytest.raises(HkdsrError, match=r"the images in data\.train are not those of the run"):
        ship.ship(run.out, "mine_x2", part, benchmarks)
    with pytest.raises(HkdsrError, match="there is no checkpoint"):
        ship.ship(tmp_path / "absent", "mine_x2", mine, benchmarks)
    assert not (tmp_path / "weights").exists()
