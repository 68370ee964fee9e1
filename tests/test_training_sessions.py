"""A training in sessions: as if it had never stopped, and with a log of who did what."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny

from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR
from hkdsr.settings.recipe import DistillRecipe, Training
from hkdsr.training.log import read_log
from hkdsr.training.run import distill
from hkdsr.training.sessions import FILE, read_sessions


def test_legs_end_where_one_training_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=5)
    whole = distill(recipe)
    cut = dataclasses.replace(tiny.recipe(tmp_path, HKDSR(), steps=5, minutes=0.0), out=tmp_path / "cut")
    sessions = [distill(cut) for _ in range(2)]
    assert [session.steps for session in sessions] == [1, 2]
    assert sessions[1].weights.exists()
    sessions.append(distill(dataclasses.replace(recipe, out=tmp_path / "cut")))
    assert sessions[2].steps == 5
    assert tiny.equal(sessions[2].network.state_dict(), whole.network.state_dict())
    assert not tiny.equal(sessions[1].network.state_dict(), whole.network.state_dict())
    lines = read_sessions(tmp_path / "cut")
    assert [(line["from_step"], line["to_step"]) for line in lines] == [(0, 1), (1, 2), (2, 5)]
    assert sum(line["seconds"] for line in lines) == pytest.approx(sessions[2].seconds, abs=0.2)
    assert [line for line in caplog.messages if line.startswith("continuing")] == [
        f"continuing at step {step} in {tmp_path / 'cut'}" for step in (1, 2)
    ]


def test_a_leg_logs_and_validates_where_the_whole_training_does(tmp_path: Path) -> None:
    def recipe(name: str, minutes: float | None = None) -> DistillRecipe:
        made = tiny.recipe(tmp_path, steps=6, log_every=3, validate_every=2, minutes=minutes)
        return tiny.data(dataclasses.replace(made, out=tmp_path / name), val=tmp_path / "images")

    distill(recipe("whole"))
    while distill(recipe("cut", minutes=0.0)).steps < 6:
        pass
    whole, cut = (
        [{name: value for name, value in line.items() if name != "seconds"} for line in read_log(tmp_path / name)]
        for name in ("whole", "cut")
    )
    assert [line["step"] for line in whole if "val_psnr_y" in line] == [2, 4, 6]
    assert cut == whole
    assert len(read_sessions(tmp_path / "cut")) == 6


def test_a_killed_leg_stays_without_an_end_and_a_finished_run_begins_none(tmp_path: Path) -> None:
    class Kill:
        def begin(self, module: object, stored: object) -> None:
            pass

        def before_step(self, step: int) -> None:
            if step == 3:
                raise tiny.Killed

    recipe = tiny.recipe(tmp_path, save_every=2, steps=4)
    with pytest.raises(tiny.Killed):
        distill(recipe, observer=Kill())
    assert "to_step" not in read_sessions(recipe.out)[0]
    distill(recipe)
    distill(recipe)
    assert [(line["from_step"], line.get("to_step")) for line in read_sessions(recipe.out)] == [(0, None), (2, 4)]


def test_a_training_begun_afresh_forgets_the_legs_before(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, steps=4)
    distill(dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, minutes=0.0)))
    (recipe.out / "last.pt").unlink()
    distill(recipe)
    assert [(line["from_step"], line["to_step"]) for line in read_sessions(recipe.out)] == [(0, 4)]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match=r"training\.minutes is -1"):
        Training(minutes=-1)
    (tmp_path / FILE).write_text("no JSON")
    with pytest.raises(HkdsrError, match=r"sessions\.jsonl is damaged"):
        read_sessions(tmp_path)
