"""Methods from a step on, until a step, or fading: what is trained then, what runs, and that a kill changes nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from hkdsr.errors import HkdsrError
from hkdsr.methods import FAKD, HKDSR, VID, Logits, Plain
from hkdsr.methods.base import Method
from hkdsr.nets.exits import Exits, Outputs
from hkdsr.nets.files.load import build
from hkdsr.settings.older import of_today
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.resume import lasting_settings
from hkdsr.studies.tasks.forward_passes import ForwardPassCounter
from hkdsr.training.distiller import Distiller
from hkdsr.training.run import distill
from hkdsr.training.schedule import MethodSchedule, method_schedule

SHARES = st.floats(0, 1)


def during(folder: Path, method: Method, training: dict[str, Any] | None = None, **when: Any) -> DistillRecipe:
    return dataclasses.replace(tiny.recipe(folder, method, **(training or {})), **when)


@given(SHARES, SHARES, st.integers(1, 200), st.integers(0, 199))
def test_weights_of_the_steps(one: float, other: float, steps: int, step: int) -> None:
    begin, end = sorted((one * steps, other * steps))
    constant, fading, growing = (
        MethodSchedule(begin, end, fade).weight(step)  # pyright: ignore[reportArgumentType]
        for fade in ("none", "out", "in")
    )
    inside = begin <= step < end
    assert constant == inside
    assert 0 <= growing <= constant
    assert growing + fading == pytest.approx(constant)
    if inside:
        assert growing == pytest.approx((step - begin) / (end - begin))
    assert MethodSchedule().weight(step) == 1


def test_by_default_a_method_is_used_in_every_step(tmp_path: Path) -> None:
    schedule = method_schedule(tiny.recipe(tmp_path, steps=7))
    assert [schedule.weight(step) for step in range(7)] == [1] * 7
    fading = method_schedule(during(tmp_path, Logits(), {"steps": 8}, method_from=0.25, method_fade="out"))
    assert [fading.weight(step) for step in range(8)] == pytest.approx([0, 0, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_mixed_with_the_l1_to_the_target(weight: float) -> None:
    student = build("compact:features=4,convs=4", 2)
    method = HKDSR().resolved(2)
    module = Distiller(student, Exits(student, (0.3, 0.7)), method, (), MethodSchedule(0, 1))
    lr, hr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)
    teacher = Outputs(torch.rand(2, 3, 16, 16), (torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)))
    whole = module(lr, hr, teacher)
    plain = (student(lr) - hr).abs().mean()
    module.weight = weight
    terms = module(lr, hr, teacher if weight else None)
    assert terms.keys() == (whole.keys() if weight else {"pixel"})
    torch.testing.assert_close(
        torch.stack(list(terms.values())).sum(),
        weight * torch.stack(list(whole.values())).sum() + (1 - weight) * plain,
    )
    weights = list(student.parameters())
    own, of_method, of_plain = (
        torch.autograd.grad(value, weights, retain_graph=True)
        for value in (torch.stack(list(terms.values())).sum(), torch.stack(list(whole.values())).sum(), plain)
    )
    for found, a, b in zip(own, of_method, of_plain, strict=True):
        torch.testing.assert_close(found, weight * a + (1 - weight) * b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [HKDSR(), FAKD(channel_weight=0.1)], ids=["hkdsr", "fakd"])
@pytest.mark.parametrize("when", [{"method_from": 1.0}, {"method_until": 0.0}], ids=["from the end", "until 0"])
def test_a_method_that_is_never_used_is_plain_training(method: Method, when: dict[str, Any], tmp_path: Path) -> None:
    plain = distill(dataclasses.replace(tiny.recipe(tmp_path, Plain()), out=tmp_path / "plain"))
    other = distill(during(tmp_path, method, **when))
    assert tiny.equal(dict(plain.network.state_dict()), dict(other.network.state_dict()))


def test_until_its_end_a_run_is_that_of_the_method(tmp_path: Path) -> None:
    """And then that of plain training."""
    same = {"milestones": (), "save_every": 6}
    whole = during(tmp_path, Logits(), {**same, "steps": 6}, out=tmp_path / "whole")
    half = during(tmp_path, Logits(), same, method_until=0.5)
    always = during(tmp_path, Logits(), same, out=tmp_path / "always")
    distill(whole)
    with pytest.raises(tiny.Killed):
        distill(half, tiny.KilledAt(7))
    assert tiny.equal(tiny.state(whole.out)["model"], tiny.state(half.out)["model"])
    distill(half)
    distill(always)
    assert not tiny.equal(tiny.state(always.out)["model"], tiny.state(half.out)["model"])
    terms = [set(losses) for _, _, losses, _ in tiny.losses(half.out) if losses]
    assert terms == [{"pixel", "logits"}] * 6 + [{"pixel"}] * 6


@pytest.mark.parametrize("method", [HKDSR(), VID(), FAKD()], ids=["hkdsr", "vid", "fakd"])
@pytest.mark.parametrize("fade", ["none", "out", "in"])
def test_a_kill_changes_nothing(method: Method, fade: str, tmp_path: Path) -> None:
    recipe = during(tmp_path, method, method_from=0.2, method_until=0.7, method_fade=fade)
    distill(dataclasses.replace(recipe, out=tmp_path / "whole"))
    for step in (3, 6, 11):
        with pytest.raises(tiny.Killed):
            distill(recipe, tiny.KilledAt(step))
    distill(recipe)
    whole, resumed = tiny.state(tmp_path / "whole"), tiny.state(recipe.out)
    for part in ("model", "average", "optimiser"):
        assert tiny.equal(whole[part], resumed[part]), part


@pytest.mark.parametrize("images", ["cached", "live"])
def test_the_teacher_runs_only_while_the_method_is_used(images: str, tmp_path: Path) -> None:
    recipe = during(tmp_path, FAKD(), method_from=0.25, method_until=0.75)
    recipe = tiny.exits(recipe, teacher_images=images)
    counter = ForwardPassCounter(recipe, torch.device("cpu"))
    assert counter is not None
    trained = distill(recipe, counter)
    assert counter.averages(trained.steps) == pytest.approx((1, 0.5))


def test_a_target_that_the_teacher_makes_stays(tmp_path: Path) -> None:
    """Cached, it costs no pass; live, one of the teacher without exits and features."""
    for images, passes in (("cached", 0.5), ("live", 1.0)):
        recipe = during(tmp_path, FAKD(), method_until=0.5, target="teacher", out=tmp_path / images)
        recipe = tiny.exits(recipe, teacher_images=images)
        counter = ForwardPassCounter(recipe, torch.device("cpu"))
        assert counter.averages(distill(recipe, counter).steps) == pytest.approx((1, passes))


@pytest.mark.parametrize(
    ("when", "sentence"),
    [
        ({"method_from": 1.5}, "method_from is 1.5: set it to a value from 0 to 1"),
        ({"method_until": -0.5}, "method_until is -0.5: set it to a value from 0.0 to 1"),
        ({"method_from": 0.5, "method_until": 0.25}, "method_until is 0.25: set it to a value from 0.5 to 1"),
    ],
)
def test_impossible_times_are_refused(when: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HkdsrError) as caught:
        DistillRecipe(**when)
    assert str(caught.value) == sentence


def test_a_run_is_continued_with_the_same_times_and_those_of_older_versions_are_known(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=4)
    distill(recipe)
    with pytest.raises(HkdsrError, match="method_until"):
        distill(dataclasses.replace(recipe, method_until=0.5))
    settings = lasting_settings(recipe)
    older = {name: text for name, text in settings.items() if not name.startswith("method_")}
    assert older.keys() < settings.keys()
    assert of_today(older) == of_today(settings)
