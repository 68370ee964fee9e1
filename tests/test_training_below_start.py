"""A training that ends below the network it started from says so; others do not."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
import tiny
from test_training_pruned import recipe_of

from hkdsr.methods import Logits
from hkdsr.nets.files.load import save
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.training.run import distill, train
from hkdsr.training.student import START_SCORE

SENTENCE = "The training has lowered the PSNR on data.val"
HARMFUL = 0.5
"""A learning rate that ruins any network in a few steps."""


def fine_tuning(folder: Path, lr: float, **others: object) -> DistillRecipe:
    """From a checkpoint that repeats pixels, which is near to the images that ``recipe_of`` makes."""
    recipe = recipe_of(folder, steps=6, lr=lr, save_every=2, validate_every=3, ema=0.5)
    if not (folder / "mine.safetensors").exists():
        save(tiny.nearest(2), folder / "mine.safetensors")
    recipe = tiny.data(recipe, val=folder / "images", val_images=2)
    changes = {"student": str(folder / "mine.safetensors"), "init": "scratch", "method": Logits(), **others}
    return dataclasses.replace(recipe, **changes)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [text for text in caplog.messages if text.startswith(SENTENCE)]
    caplog.clear()
    return found


@pytest.mark.parametrize("start", ["a checkpoint", "prune"])
def test_it_is_said_where_the_result_is_below_the_start(
    start: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pruned = {"student": "compact:features=3,convs=3", "init": "prune"} if start == "prune" else {}
    distill(fine_tuning(tmp_path, HARMFUL, **pruned))
    (sentence,) = told(caplog)
    before, after = (float(word) for word in sentence.split() if word[0].isdigit())
    assert before > after + 1
    distill(fine_tuning(tmp_path, 0.0, out=tmp_path / "same", **pruned))
    assert not told(caplog)


def test_random_weights_have_no_score(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = fine_tuning(tmp_path, HARMFUL, student="compact:features=4,convs=3")
    distill(recipe)
    assert not told(caplog)
    assert START_SCORE not in tiny.state(recipe.out)["metadata"]


def test_without_validation_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    distill(tiny.data(fine_tuning(tmp_path, HARMFUL), val=None))
    assert not told(caplog)


def test_a_continued_run_knows_its_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = fine_tuning(tmp_path, HARMFUL)
    with pytest.raises(tiny.Killed):
        distill(recipe, tiny.KilledAt(5))
    assert not told(caplog)
    distill(recipe)
    assert len(told(caplog)) == 1
    distill(recipe)  # nothing is left to do
    assert not told(caplog)
    other = tiny.data(dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, steps=8)), val_images=1)
    distill(other)  # validated on other images, which the start was not
    assert not told(caplog)


def test_plain_training_of_a_checkpoint_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    # LR by bicubic: for repeated pixels the checkpoint would be perfect, and its gradient zero.
    recipe = tiny.data(fine_tuning(tmp_path, HARMFUL), lr=())
    train(TrainRecipe(recipe.scale, recipe.student, out=recipe.out, data=recipe.data, training=recipe.training))
    assert len(told(caplog)) == 1
