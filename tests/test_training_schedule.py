"""A run continued with other steps and milestones: what is done stays, the rest follows the new schedule."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny

from hkdsr.errors import HkdsrError
from hkdsr.methods import Logits, Plain
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.log import read_log
from hkdsr.training.run import distill
from hkdsr.training.schedule import change
from hkdsr.training.sessions import read_sessions


def changed(recipe: DistillRecipe, **training: Any) -> DistillRecipe:
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **training))


def rates(out: Path) -> list[float]:
    return [line["lr"] for line in read_log(out) if "lr" in line]


def test_a_finished_run_continues_to_more_steps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tiny.recipe(tmp_path, Plain(), steps=6, milestones=(0.5,), lr=1e-3)
    assert distill(recipe).steps == 6
    longer = changed(recipe, steps=10)
    result = distill(longer)
    assert result.steps == tiny.state(recipe.out)["step"] == 10
    # Lowered after step 3 of 6, and, as the milestone of 10 steps is after step 5, still lowered at step 6.
    assert rates(recipe.out) == [1e-3] * 3 + [5e-4] * 7
    (message,) = (text for text in caplog.messages if text.startswith("training.steps"))
    assert message == (
        "training.steps was 6 and is now 10: from step 6 on, the learning rate is that of a training of 10 steps "
        "(0.001, times 0.5 after step 5)"
    )
    assert [(line["from_step"], line["to_step"], line["steps"]) for line in read_sessions(recipe.out)] == [
        (0, 6, 6),
        (6, 10, 10),
    ]
    assert '"training.steps": "10"' in tiny.metadata(result.weights)["recipe"]
    distill(longer)
    assert len([text for text in caplog.messages if text.startswith("training.steps")]) == 1


def test_the_learning_rate_may_rise_again(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Plain(), steps=6, milestones=(0.5,), lr=1e-3)
    distill(recipe)
    distill(changed(recipe, steps=16))
    assert rates(recipe.out) == [1e-3] * 3 + [5e-4] * 3 + [1e-3] * 2 + [5e-4] * 8


@pytest.mark.parametrize("killed", [False, True])
def test_with_the_same_learning_rates_it_is_the_same_training(
    killed: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    longer = tiny.recipe(tmp_path, Logits(), steps=10, milestones=(0.3,), save_every=2)
    whole = dataclasses.replace(longer, out=tmp_path / "whole")
    distill(whole)
    shorter = changed(longer, steps=6, milestones=(0.5,))
    if killed:
        for _ in range(4):
            distill(changed(shorter, minutes=0.0))
        assert tiny.state(longer.out)["step"] == 4
    else:
        distill(shorter)
    distill(longer)
    assert any("training.steps was 6 and is now 10 and training.milestones was [0.5]" in t for t in caplog.messages)
    one, other = tiny.state(whole.out), tiny.state(longer.out)
    for part in ("step", "fingerprint", "model", "average", "optimiser"):
        assert tiny.equal(one[part], other[part]), part


def test_fewer_steps_than_done_are_refused(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Plain(), steps=6)
    distill(recipe)
    with pytest.raises(
        HkdsrError, match=r"out has done 6 steps already, but training\.steps is 5: raise it, or change"
    ):
        distill(changed(recipe, steps=5))
    assert tiny.state(recipe.out)["step"] == 6


def test_fewer_steps_than_before_are_possible(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Plain(), steps=8, minutes=0.0)
    distill(recipe)
    assert distill(changed(recipe, steps=3, minutes=None)).steps == 3


def test_results_that_must_come_from_one_training_are_not_extended(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Plain(), steps=2)
    distill(recipe)
    with pytest.raises(HkdsrError, match=r"begun with other settings \(training\.steps\): set them back"):
        distill(changed(recipe, steps=4), extend=False)
    with pytest.raises(HkdsrError, match=r"begun with other settings \(training\.milestones\): set them back"):
        distill(changed(recipe, milestones=(0.1,)), extend=False)


def test_the_sentence_without_milestones() -> None:
    old, new = {"training.milestones": "[0.5]"}, {"training.milestones": "[]"}
    sentence = change(old, new, tiny.settings(steps=9, milestones=(), lr=1e-4), 4)
    assert sentence == (
        "training.milestones was [0.5] and is now []: from step 4 on, the learning rate is that of a training of 9 "
        "steps (0.0001)"
    )


def test_a_cosine_falls_from_the_rate_to_zero_and_follows_new_steps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tiny.recipe(tmp_path, Plain(), steps=4, lr=1e-3, schedule="cosine")
    distill(recipe)
    # (1 + cos(pi t)) / 2 at t = 0, 1/4, 1/2, 3/4.
    expected = [1e-3, 8.535534e-4, 5e-4, 1.464466e-4]
    assert rates(recipe.out) == pytest.approx(expected)
    distill(changed(recipe, steps=8))
    assert rates(recipe.out) == pytest.approx([*expected, 5e-4, 3.086583e-4, 1.464466e-4, 3.806023e-5])
    assert any("of 8 steps (0.001, falling to zero along half a cosine)" in text for text in caplog.messages)
