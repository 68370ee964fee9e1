"""The adversarial method: opposite gradients for discriminator and student, and a discriminator that learns."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small import crops, refusal
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.methods import Logits, compose
from hkdsr.methods.adversarial import Adversarial
from hkdsr.methods.adversarial_discriminator import Discriminator
from hkdsr.methods.inputs import LossInputs
from hkdsr.nets.exits import Outputs
from hkdsr.nets.families.compact import Compact
from hkdsr.training.run import distill

METHOD = Adversarial(pixel_weight=0.5, adversarial_weight=0.3, features=4)


def discriminator(method: Adversarial = METHOD) -> Discriminator:
    """In float64, with many estimates of the spectral norms behind it."""
    made = method.heads(Compact(2, 4, 1), (), 0).double()
    for _ in range(100):
        made(torch.rand(1, 3, 16, 16, dtype=torch.float64))
    return made


def make_inputs(student: Tensor, teacher: Tensor, hr: Tensor | None = None) -> LossInputs:
    return LossInputs(student, teacher if hr is None else hr, Outputs(student), Outputs(teacher))


def term(heads: Discriminator, student: Tensor, teacher: Tensor) -> Tensor:
    return METHOD.losses(heads, make_inputs(student, teacher))["adversarial"]


def test_formula() -> None:
    heads = discriminator()
    student, teacher, hr = (torch.rand(2, 3, 20, 28, dtype=torch.float64) for _ in range(3))

    def score(image: Tensor) -> Tensor:
        for layer in heads.layers:
            if isinstance(layer, nn.Conv2d):
                raw = dict(layer.named_parameters())["parametrizations.weight.original"]
                weight = raw / torch.linalg.svdvals(raw.flatten(1))[0]
                image = F.conv2d(image, weight, layer.bias, layer.stride, padding=1)
            else:
                image = torch.where(image > 0, image, 0.2 * image)
        return image

    found = METHOD.losses(heads, make_inputs(student, teacher, hr))
    assert found["pixel"].item() == pytest.approx(0.5 * (student - hr).abs().mean().item(), rel=1e-12)
    scores = [score(image) for image in (student, teacher)]
    assert scores[0].shape == (2, 1, 5, 7)
    assert found["adversarial"].item() == pytest.approx(0.3 * (scores[0] - scores[1]).mean().item(), rel=1e-6)


def test_no_difference_where_the_student_is_the_teacher() -> None:
    image = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    assert term(discriminator(), image, image).item() == pytest.approx(0, abs=1e-15)


@examples(max_examples=15)
@given(side=st.integers(4, 21), other=st.integers(4, 21), halvings=st.integers(1, 2))
def test_the_student_gets_the_opposite_of_the_gradient(side: int, other: int, halvings: int) -> None:
    """Finite differences, in a random direction, with the estimates of the spectral norms as they are."""
    heads = discriminator(dataclasses.replace(METHOD, halvings=halvings)).eval()
    student = torch.rand(2, 3, side, other, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(2, 3, side, other, dtype=torch.float64)
    variables = [student, *heads.parameters()]
    gradients = torch.autograd.grad(term(heads, student, teacher), variables)
    for variable, gradient, sign in zip(variables, gradients, [-1, *[1] * (len(variables) - 1)], strict=True):
        direction = torch.randn_like(variable)
        slope = difference(heads, student, teacher, variable, 1e-7 * direction) / 2e-7
        assert sign * (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-4, abs=1e-8)


@torch.no_grad()
def difference(heads: Discriminator, student: Tensor, teacher: Tensor, variable: Tensor, step: Tensor) -> float:
    """Of the term, between ``variable`` + ``step`` and ``variable`` - ``step``."""
    found = []
    for change in (step, -2 * step, step):
        variable += change
        found.append(term(heads, student, teacher).item())
    return found[0] - found[1]


def test_spectral_norms_stay_one_while_it_learns() -> None:
    heads = discriminator()
    train(heads, torch.rand(4, 3, 16, 16).double(), torch.rand(4, 3, 16, 16).double(), 30)
    for layer in heads.layers:
        if isinstance(layer, nn.Conv2d):
            assert torch.linalg.svdvals(layer.weight.flatten(1))[0].item() == pytest.approx(1, abs=0.1)


def train(heads: Discriminator, student: Tensor, teacher: Tensor, steps: int) -> None:
    optimiser = torch.optim.Adam(heads.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        term(heads, student, teacher).backward()
        optimiser.step()


def test_it_learns_what_tells_photographs_from_blurred_ones_and_sharpens_them() -> None:
    """On photographs that it has not seen; a student that follows its gradient comes nearer to them."""
    photographs = crops(96)
    blurred = F.avg_pool2d(F.pad(photographs, (1, 1, 1, 1), mode="reflect"), 3, 1)
    heads = discriminator()
    train(heads, blurred[:1, ..., :48], photographs[:1, ..., :48], 60)
    student, teacher = blurred[1:].clone().requires_grad_(), photographs[1:]
    heads.eval()
    assert (heads(teacher) > heads(student)).double().mean() > 0.8
    (gradient,) = torch.autograd.grad(term(heads, student, teacher), student)
    with torch.no_grad():
        better = student - 1e-2 * gradient / gradient.square().mean().sqrt()
    assert heads(better).mean() > heads(student).mean()
    assert edges(better) > 1.05 * edges(student)


def edges(image: Tensor) -> float:
    return (image[..., 1:] - image[..., :-1]).abs().mean().item()


def test_parts_of_a_batch_have_the_mean_gradient() -> None:
    """So several processes, and ``training.accumulate``, train as one pass over the batch does."""
    heads = discriminator()
    student, teacher = torch.rand(4, 3, 16, 16).double(), torch.rand(4, 3, 16, 16).double()

    def gradients(parts: Iterable[slice]) -> list[Tensor]:
        copies = [copy.deepcopy(heads) for _ in parts]
        values = [term(own, student[part], teacher[part]) for own, part in zip(copies, parts, strict=True)]
        found = [torch.autograd.grad(value, list(own.parameters())) for value, own in zip(values, copies, strict=True)]
        return [torch.stack(each).mean(0) for each in zip(*found, strict=True)]

    for whole, halves in zip(gradients([slice(0, 4)]), gradients([slice(0, 2), slice(2, 4)]), strict=True):
        torch.testing.assert_close(whole, halves)


def test_a_sum_on_lr_images_alone_resumes_exactly(tmp_path: Path) -> None:
    method = compose(Logits(pixel_weight=0.0), Adversarial(features=4))
    recipe = tiny.data(tiny.recipe(tmp_path, method, steps=4, save_every=2, accumulate=2, batch=4), lr_only=True)
    recipe = dataclasses.replace(recipe, target="teacher")
    whole = dataclasses.replace(recipe, out=tmp_path / "whole")
    distill(whole)
    with pytest.raises(tiny.Killed):
        distill(recipe, tiny.KilledAt(3))
    assert tiny.state(recipe.out)["step"] == 2
    distill(recipe)
    state, cut = tiny.state(whole.out), tiny.state(recipe.out)
    assert any("adversarial.layers.0" in name and name.endswith("_u") for name in state["model"])
    for part in ("model", "average", "optimiser"):
        assert tiny.equal(state[part], cut[part]), part


def test_mistakes() -> None:
    wrongs: dict[str, Any] = {"adversarial_weight": -1.0, "pixel_weight": -0.1, "features": 0, "halvings": 0}
    for name, value in wrongs.items():
        with pytest.raises(HkdsrError, match=f"method.{name}"):
            dataclasses.replace(METHOD, **{name: value})
    deep = Adversarial(features=1, halvings=5)
    image = torch.rand(1, 3, 16, 24)
    heads = deep.heads(Compact(2, 4, 1), (), 0)
    said = refusal(lambda: deep.losses(heads, make_inputs(image, image)))
    assert said == "method.halvings is 5, but the images have 16 pixels a side: lower it, or raise data.patch"
