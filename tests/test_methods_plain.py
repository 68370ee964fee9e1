"""The baselines, and the list of methods."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from vectors import exits

from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, METHODS, Logits, Method, Plain, method_class, method_name
from hkdsr.methods.base import cumulative
from hkdsr.methods.inputs import LossInputs
from hkdsr.nets.exits import Outputs
from hkdsr.nets.families.compact import Compact

S_G, S_T = 0.0345802951, 0.019108537  # L1 distances of the vectors of docs/method.md


def outputs() -> tuple[Outputs, Outputs, torch.Tensor]:
    students, teachers, hr = exits()
    return Outputs(students[2], tuple(students[:2])), Outputs(teachers[2], tuple(teachers[:2])), hr


def test_no_distillation_is_the_distance_to_the_truth() -> None:
    student, _, hr = outputs()
    method = Plain()
    assert (method.uses_teacher, method.uses_exits, method.heads(Compact(2, 4, 1), (), 0)) == (False, False, None)
    found = method.losses(None, LossInputs(hr, hr, Outputs(student.final)))
    assert {name: value.item() for name, value in found.items()} == {"pixel": pytest.approx(S_G, rel=1e-6)}


def test_exits_of_the_plain_student_add_their_weighted_distance() -> None:
    student, _, hr = outputs()
    method = Plain(exit_weight=0.5)
    assert method.uses_exits
    found = method.losses(None, LossInputs(hr, hr, student))
    assert found.keys() == {"pixel", "exit1", "exit2"}
    for index, image in enumerate(student.exits):
        expected = 0.5 * (image - hr).abs().mean().item()
        assert found[f"exit{index + 1}"].item() == pytest.approx(expected, rel=1e-12)


def test_output_distillation_adds_the_distance_to_the_teacher() -> None:
    student, teacher, hr = outputs()
    method = Logits(pixel_weight=2.0, teacher_weight=0.25)
    assert (method.uses_teacher, method.uses_exits) == (True, False)
    found = {name: value.item() for name, value in method.losses(None, LossInputs(hr, hr, student, teacher)).items()}
    assert found == {"pixel": pytest.approx(2 * S_G, rel=1e-6), "logits": pytest.approx(S_T / 4, rel=1e-6)}


def test_gradients_are_signs_towards_truth_and_teacher() -> None:
    student, teacher, hr = outputs()
    image = student.final.requires_grad_()
    terms = Logits().losses(None, LossInputs(hr, hr, Outputs(image), teacher))
    (grad,) = torch.autograd.grad(terms["pixel"] + terms["logits"], image)
    expected = ((image - hr).sign() + (image - teacher.final).sign()) / image.numel()
    assert torch.allclose(grad, expected)


def test_vector_6_cumulative_weights() -> None:
    losses = (0.3, 0.2, 0.1, 0.05)
    weighted = sum(w * loss for w, loss in zip(cumulative([1.0] * 4), losses, strict=True))
    assert weighted == pytest.approx(2.05)
    assert cumulative([0.5, 2.0]) == [1.0, 2.0]
    assert cumulative([]) == []


def test_names_and_classes_match() -> None:
    assert METHODS["none"] is Plain
    assert METHODS["logits"] is Logits
    assert METHODS["hkdsr"] is HKDSR
    for name, kind in METHODS.items():
        assert method_class(name) is kind
        assert method_name(kind()) == name
    with pytest.raises(HkdsrError, match=r"method 'fancy' is unknown: choose one of none, .*hkdsr"):
        method_class("fancy")


@pytest.mark.parametrize("kind", METHODS.values())
def test_settings_are_frozen_and_have_defaults(kind: type[Method]) -> None:
    method = kind()
    assert method == kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(method, dataclasses.fields(kind)[0].name, 1)
    assert type(method.resolved(3)) is kind
