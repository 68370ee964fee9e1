"""DCKD: its formula restated, the student's history, the noise, and where gradients go."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import pth, refusal
from torch import Tensor, nn

from hkdsr.losses.vgg import VGG19
from hkdsr.methods.dckd import DCKD, noisy
from hkdsr.methods.inputs import LossInputs
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Outputs
from hkdsr.nets.files.load import build

STUDENT, TEACHER = "compact:features=3,convs=2", "edsr:features=4,blocks=4"
SIDE = 8
Layers = Callable[[Tensor], list[Tensor]]


def networks(student: str = STUDENT, teacher: str = TEACHER) -> tuple[Network, Network]:
    """In float64; their images stay near [0, 1], so that little is clamped."""
    own, other = build(student, 2).double().eval(), build(teacher, 2).double().eval()
    return own, other.requires_grad_(False)


def lesson_of(student: Network, teacher: Network, count: int = 3) -> LossInputs:
    lr = torch.rand(count, 3, SIDE, SIDE, dtype=torch.float64)
    hr = torch.rand(count, 3, 2 * SIDE, 2 * SIDE, dtype=torch.float64)
    with torch.no_grad():
        given = Outputs(teacher(lr).clamp(0, 1))
    return LossInputs(lr, hr, Outputs(student(lr)), given, student, (teacher,))


def made_heads(method: DCKD, student: Network, teacher: Network) -> nn.ModuleDict:
    """With a history that is no longer the student."""
    heads = method.heads(student, (teacher,), 0)
    for parameter in heads.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return heads


def undone(image: Tensor, drawn: list[bool]) -> Tensor:
    inverted, mirrored, upside_down, transposed = drawn
    image = image.mT if transposed else image
    image = image.flip(1) if upside_down else image
    image = image.flip(2) if mirrored else image
    return 1 - image if inverted else image


def done(image: Tensor, drawn: list[bool]) -> Tensor:
    inverted, mirrored, upside_down, transposed = drawn
    image = 1 - image if inverted else image
    image = image.flip(2) if mirrored else image
    image = image.flip(1) if upside_down else image
    return image.mT if transposed else image


@torch.no_grad()
def restated(method: DCKD, heads: nn.ModuleDict, inputs: LossInputs, layers: Layers | None = None) -> dict[str, float]:
    """The module's docstring; the teacher's taps are written out for EDSR."""
    teacher, x, G = inputs.teacher_networks[0], inputs.lr, inputs.hr
    assert inputs.teacher is not None
    S, T = inputs.student.final, inputs.teacher.final

    changes = (torch.rand(len(x), 4) < method.probability).tolist()
    changed = torch.stack([done(image, drawn) for image, drawn in zip(x, changes, strict=True)])
    answers = teacher(changed).clamp(0, 1)
    target = torch.stack([undone(image, drawn) for image, drawn in zip(answers, changes, strict=True)])

    def taps(image: Tensor) -> list[Tensor]:
        features, found = teacher.shallow(image[..., top : top + SIDE, left : left + SIDE]), []
        for block in teacher.blocks:
            features = block(features)
            found.append(features)
        return found

    if layers is None:
        top, left = int(torch.randint(SIDE + 1, ())), int(torch.randint(SIDE + 1, ()))
        layers = taps
    noisy = [x]
    for _ in range(method.negatives - 1):
        sigma = (1 + 29 * torch.rand(len(x), 1, 1, 1, dtype=torch.float64)) / 255
        grey = torch.rand(len(x), 1, 1, 1) < 0.5
        noise = torch.randn(len(x), 3, SIDE, SIDE, dtype=torch.float64)
        noise = torch.stack([n[:1].expand(3, -1, -1) if g else n for n, g in zip(noise, grey.flatten(), strict=True)])
        noisy.append((x + sigma * noise).clamp(0, 1))
    negatives = [layers(heads["history"](given).clamp(0, 1)) for given in noisy]
    total = 0.0
    weights = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]
    anchor, positive = layers(S), layers(T)
    for i, weight in enumerate(weights[-len(anchor) :]):
        far = sum(float((n[i] - anchor[i]).abs().mean()) for n in negatives)
        total += weight * float((positive[i] - anchor[i]).abs().mean()) / (far + 1e-7)
    return {
        "pixel": method.pixel_weight * float((S - G).abs().mean()),
        "logits": method.teacher_weight * float((S - T).abs().mean()),
        "consistency": method.consistency_weight * float((S - target).abs().mean()),
        "contrast": method.contrast_weight * total,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"negatives": 1, "probability": 1.0},
        {"negatives": 3, "contrast_weight": 0.7, "consistency_weight": 2.0, "teacher_weight": 0.5, "pixel_weight": 3.0},
    ],
)
def test_formula_by_the_teachers_taps(changed: dict[str, Any]) -> None:
    method = DCKD(**changed, depths=(0.25, 0.5, 0.75, 1.0))
    student, teacher = networks()
    inputs, heads = lesson_of(student, teacher), made_heads(method, student, teacher)
    torch.manual_seed(4)
    found = {name: value.item() for name, value in method.losses(heads, inputs).items()}
    torch.manual_seed(4)
    assert found == pytest.approx(restated(method, heads, inputs), rel=1e-9)


def test_formula_by_vgg(tmp_path: Path) -> None:
    network = VGG19()
    method = DCKD(features=str(pth(tmp_path, network.state_dict())), negatives=2)
    student, teacher = networks()
    inputs, heads = lesson_of(student, teacher, count=1), made_heads(method, student, teacher)
    torch.manual_seed(4)
    found = {name: value.item() for name, value in method.losses(heads, inputs).items()}
    torch.manual_seed(4)
    expected = restated(method, heads, inputs, lambda image: list(network.double()(image)))
    assert found == pytest.approx(expected, rel=1e-9)


def test_without_its_weight_there_is_no_consistency() -> None:
    student, teacher = networks()
    method = DCKD(consistency_weight=0.0)
    terms = method.losses(method.heads(student, (teacher,), 0), lesson_of(student, teacher))
    assert terms.keys() == {"pixel", "logits", "contrast"}


def test_no_contrast_where_the_student_is_the_teacher() -> None:
    _, teacher = networks()
    student = copy.deepcopy(teacher).requires_grad_()
    inputs = lesson_of(student, teacher)
    inside = Outputs(inputs.student.final.clamp(0, 1))
    terms = DCKD().losses(DCKD().heads(student, (teacher,), 0), LossInputs(**{**vars(inputs), "student": inside}))
    assert terms["contrast"].item() == 0
    assert terms["logits"].item() == 0
    assert terms["consistency"].item() > 0  # the teacher answers changed input otherwise


@pytest.mark.parametrize("term", ["logits", "consistency", "contrast"])
def test_only_the_student_learns(term: str) -> None:
    method = DCKD()
    student, teacher = networks()
    heads = made_heads(method, student, teacher)
    before = copy.deepcopy((teacher.state_dict(), heads.state_dict()))
    method.losses(heads, lesson_of(student, teacher))[term].backward()
    assert all(p.grad is not None and p.grad.any() for p in student.parameters())
    frozen = [*teacher.parameters(), *heads.parameters()]
    assert not any(p.requires_grad or p.grad is not None for p in frozen)
    for now, then in zip((teacher.state_dict(), heads.state_dict()), before, strict=True):
        assert all(torch.equal(value, then[name]) for name, value in now.items())


def test_history_follows_at_its_interval() -> None:
    method = DCKD(history_every=3, history_kept=0.25)
    student, teacher = networks()
    heads = method.heads(student, (teacher,), 0)
    history = heads["history"]
    assert history is not student
    first = copy.deepcopy(student.state_dict())
    for parameter in student.parameters():
        nn.init.normal_(parameter)
    for step in range(3):
        method.before_step(heads, student, step)
        assert all(torch.equal(value, first[name]) for name, value in history.state_dict().items())
    method.before_step(heads, student, 3)
    own = dict(student.named_parameters())
    for name, parameter in history.named_parameters():
        torch.testing.assert_close(parameter, 0.25 * first[name] + 0.75 * own[name])
        assert not parameter.requires_grad


def test_the_history_is_saved_with_the_heads() -> None:
    student, teacher = networks()
    one, other = (made_heads(DCKD(), student, teacher) for _ in range(2))
    assert one.state_dict().keys() == {f"history.{name}" for name in student.state_dict()}
    other.load_state_dict(one.state_dict())
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(one["history"](x), other["history"](x))


def test_noise_is_as_strong_as_it_says_and_grey_for_half() -> None:
    flat = torch.full((400, 3, 24, 24), 0.5)
    noise = noisy(flat) - flat
    deviations = 255 * noise.flatten(1).std(1)
    assert 0.9 < deviations.min() < 3
    assert 28 < deviations.max() < 32
    assert deviations.mean().item() == pytest.approx(15.5, abs=1.5)
    grey = (noise[:, 0] == noise[:, 1]).flatten(1).all(1)
    assert torch.equal(grey, (noise[:, 0] == noise[:, 2]).flatten(1).all(1))
    assert grey.double().mean().item() == pytest.approx(0.5, abs=0.1)
    assert noisy(torch.ones(8, 3, 9, 9)).max() == 1
    assert noisy(torch.zeros(8, 3, 9, 9)).min() == 0


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        (STUDENT, "bsrn:features=16,blocks=2"),
        ("swinir:features=4,groups=2,blocks=2,heads=2", "smfanet:dim=8,blocks=3"),
        ("edsr:features=8,blocks=6", STUDENT),
    ],
)
def test_pairs_of_any_kind(student: str, teacher: str) -> None:
    own, other = networks(student, teacher)
    terms = DCKD(negatives=2).losses(DCKD().heads(own, (other,), 0), lesson_of(own, other, count=2))
    assert all(value.isfinite() and value.requires_grad for value in terms.values())


def test_features_that_are_not_there_are_found_before_training(tmp_path: Path) -> None:
    student, teacher = networks()
    method = DCKD(features=str(tmp_path / "vgg19.pth"))
    assert "which is no file: " in refusal(lambda: method.heads(student, (teacher,), 0))


@pytest.mark.parametrize(
    "changed",
    [
        {"negatives": 0},
        {"history_every": 0},
        {"history_kept": 1.1},
        {"probability": -0.1},
        {"consistency_weight": -1.0},
    ],
)
def test_wrong_settings_are_refused(changed: dict[str, Any]) -> None:
    assert refusal(lambda: DCKD(**changed)).startswith(f"method.{next(iter(changed))} is ")
