"""A training in legs: as if it had never stopped, and with a log of who did what."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny

from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR
from hkdsr.recipe import Training
from hkdsr.training.legs import FILE, read_legs
from hkdsr.training.run import distill


def test_legs_end_where_one_training_ends(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=5)
    whole = distill(recipe)
    cut = dataclasses.replace(tiny.recipe(tmp_path, HKDSR(), steps=5, minutes=0.0), out=tmp_path / "cut")
    said: list[str] = []
    legs = [distill(cut, said.append) for _ in range(2)]
    assert [leg.steps for leg in legs] == [1, 2]
    assert legs[1].weights.exists()
    legs.append(distill(dataclasses.replace(recipe, out=tmp_path / "cut"), said.append))
    assert legs[2].steps == 5
    assert tiny.equal(legs[2].network.state_dict(), whole.network.state_dict())
    assert not tiny.equal(legs[1].network.state_dict(), whole.network.state_dict())
    lines = read_legs(tmp_path / "cut")
    assert [(line["from_step"], line["to_step"]) for line in lines] == [(0, 1), (1, 2), (2, 5)]
    assert sum(line["seconds"] for line in lines) == pytest.approx(legs[2].seconds, abs=0.2)
    assert [line for line in said if line.startswith("goes on")] == [
        f"goes on from step {step} in {tmp_path / 'cut'}" for step in (1, 2)
    ]


def test_a_killed_leg_stays_without_an_end_and_a_finished_run_begins_none(tmp_path: Path) -> None:
    class Kill:
        def begin(self, module: object, cached: object) -> None:
            pass

        def before_step(self, step: int) -> None:
            if step == 3:
                raise tiny.Killed

    recipe = tiny.recipe(tmp_path, save_every=2, steps=4)
    with pytest.raises(tiny.Killed):
        distill(recipe, watch=Kill())
    assert "to_step" not in read_legs(recipe.out)[0]
    distill(recipe)
    distill(recipe)
    assert [(line["from_step"], line.get("to_step")) for line in read_legs(recipe.out)] == [(0, None), (2, 4)]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match=r"training\.minutes is -1"):
        Training(minutes=-1)
    (tmp_path / FILE).write_text("no JSON")
    with pytest.raises(HkdsrError, match=r"legs\.jsonl is damaged"):
        read_legs(tmp_path)
