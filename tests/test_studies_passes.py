"""Counting passes: of plain training, a live teacher, images on disk and methods that run networks themselves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import tiny
import torch
from small import SMALL
from torch import Tensor, nn

from hkdsr.data.sources import find_pairs
from hkdsr.data.store import build_store
from hkdsr.methods import FAKD, HKDSR, Logits, Method, Plain
from hkdsr.methods.inputs import LossInputs
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.studies.tasks.forward_passes import FILE, ForwardPassCounter
from hkdsr.training.run import distill

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Irregular(Method):
    """Runs the student again in a random half of the steps, and the teacher always on a quarter of the area."""

    uses_networks: ClassVar[bool] = True

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        again = inputs.student_on(inputs.lr) if torch.rand(()) < 0.5 else inputs.student.final
        small = inputs.teacher_on(inputs.lr[..., :6, :6])
        return {"pixel": (again - inputs.hr).abs().mean() + 0 * small.mean()}


class KilledCounter(ForwardPassCounter):
    """Ends the run before step 8, after the checkpoint of step 5."""

    def before_step(self, step: int) -> None:
        super().before_step(step)
        if step == 8:
            raise tiny.Killed


def counted(recipe: DistillRecipe) -> tuple[ForwardPassCounter, tuple[float, float]]:
    counter = ForwardPassCounter(recipe, CPU)
    trained = distill(recipe, observer=counter)
    return counter, counter.averages(trained.steps)


@pytest.mark.parametrize(
    ("method", "images", "expected"),
    [
        (Plain(), "cached", (1, 0)),
        (Plain(exit_weight=0.1), "cached", (1, 0)),
        (Logits(), "live", (1, 1)),
        (Logits(), "cached", (1, 0)),
        (FAKD(), "cached", (1, 1)),
        (FAKD(affinity_every=3), "cached", (1, 1 / 3)),
        (HKDSR(), "cached", (1, 0)),
    ],
    ids=["none", "none with exits", "logits live", "logits cached", "fakd", "fakd on a third", "hkdsr"],
)
def test_passes_of_a_step(method: Method, images: str, expected: tuple[float, float], tmp_path: Path) -> None:
    recipe = tiny.exits(tiny.recipe(tmp_path, method, steps=3), teacher_images=images)
    counter, averages = counted(recipe)
    assert averages == pytest.approx(expected)
    store = build_store(find_pairs(recipe.data.train, 2), 2, tmp_path / "cache", workers=1)
    pixels = sum(height * width / 4 for height, width in store.sizes)
    on_disk = images == "cached" and method.uses_teacher
    assert counter.cached == pytest.approx(pixels / (3 * 12 * 12) if on_disk else 0)


def test_a_batch_in_parts_is_one_pass(tmp_path: Path) -> None:
    recipe = tiny.exits(tiny.recipe(tmp_path, Logits(), steps=2, accumulate=3), teacher_images="live")
    assert counted(recipe)[1] == pytest.approx((1, 1))


def test_padding_and_validation_do_not_count(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Plain(), steps=2, validate_every=1)
    data = dataclasses.replace(recipe.data, val=tmp_path / "images", val_images=1)
    padding = dataclasses.replace(recipe, student=SMALL["swinir"], data=data)
    assert counted(padding)[1] == pytest.approx((1, 0))
    assert (padding.out / "best.safetensors").exists()


def test_steps_that_differ_and_a_kill_between_them(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Irregular())
    student, teacher = counted(dataclasses.replace(recipe, out=tmp_path / "whole"))[1]
    assert 1 < student < 2
    assert 12 * student == pytest.approx(round(12 * student), abs=1e-4)
    # The method runs it on a quarter of the area; its images for the loss come from the disk.
    assert teacher == pytest.approx(0.25)
    with pytest.raises(tiny.Killed):
        distill(recipe, observer=KilledCounter(recipe, CPU))
    with (recipe.out / FILE).open("a") as file:
        file.write('{"step": 8, "stu')
    assert counted(recipe)[1] == pytest.approx((student, teacher))
    # Nothing is left to do: the averages come from the file.
    assert counted(recipe)[1] == pytest.approx((student, teacher))
