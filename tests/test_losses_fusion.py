"""ACF: the vectors of docs/method.md, the bound of its weights, and its gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from vectors import images, set_gate

from hkdsr.errors import HkdsrError
from hkdsr.losses import Fusion, Gate, by_sample

JOINT = {"split": "joint", "pool": "global"}
LOWEST, HIGHEST = 1 / (1 + math.e), math.e / (1 + math.e)
VARIANTS: list[tuple[dict[str, Any], float, int]] = [
    ({}, 0.0228327295, 486),
    ({**JOINT, "hidden": 96}, 0.0231990314, 866),
    ({"inputs": "s_t"}, 0.00922376388, 486),
    ({"inputs": "gt_s_t", "hidden": 48}, 0.0150865552, 1017),
    ({"inputs": "gt_s_t", **JOINT, "hidden": 72}, 0.0158623798, 939),
    ({"pool": "late", "bound": "none"}, 0.022756584, 486),
    ({"hidden": 8, "bound": "none"}, 0.0227438703, 126),
    ({"hidden": 8, "bound": "none", "average_gt": True}, 0.0278785372, 126),
    ({"inputs": "gt"}, 0.0345802951, 0),
]


def fusion(**options: Any) -> Fusion:
    made = Fusion(**options)
    set_gate(made)
    return made.double()


@pytest.mark.parametrize(("options", "value", "parameters"), VARIANTS, ids=str)
def test_vector_4(options: dict[str, Any], value: float, parameters: int) -> None:
    made = fusion(**options)
    assert made(*images()).item() == pytest.approx(value, rel=1e-6)
    with torch.no_grad():
        assert made(*images()).item() == pytest.approx(value, rel=1e-6)
    assert sum(p.numel() for p in made.parameters()) == parameters


def test_vector_4_weights_and_targets() -> None:
    student, teacher, hr = images()
    made = fusion()
    assert made.gate is not None
    weights, target = made.gate([hr, teacher]), made.target(student, teacher, hr)
    assert weights.shape == (2, 2, 3, 8, 8)
    actual = [weights[0, 0, 0, 0, 0], weights[0, 1, 0, 7, 7], weights[0, 0, 2, 0, 0]]
    assert [w.item() for w in actual] == pytest.approx([0.538888794, 0.554758481, 0.504097207], rel=1e-6)
    assert [target[0, 0, 0, 0].item(), target[1, 2, 7, 7].item()] == pytest.approx([0.52305556, 0.291214407], rel=1e-6)
    made = fusion(**JOINT, hidden=96)
    assert made.gate is not None
    weights, target = made.gate([hr, teacher]), made.target(student, teacher, hr)
    assert weights.shape == (2, 2, 1, 1, 1)
    assert weights[0].flatten().tolist() == pytest.approx([0.540571095, 0.540518541], rel=1e-6)
    assert target[0, 0, 0, 0].item() == pytest.approx(0.522971445, rel=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {**JOINT, "hidden": 96}, {"gate_training": "frozen"}, {"inputs": "gt"}], ids=str
)
def test_vector_4_gradient_of_the_student_is_a_sign(options: dict[str, Any]) -> None:
    student, teacher, hr = images()
    student.requires_grad_()
    made = fusion(**options)
    made(student, teacher, hr).backward()
    assert student.grad is not None
    expected = (student - made.target(student, teacher, hr)).sign() / 384
    assert torch.allclose(student.grad, expected, rtol=1e-12)
    assert student.grad.abs().sum().item() == pytest.approx(1)


@pytest.mark.parametrize("options", [options for options, *_ in VARIANTS], ids=str)
def test_derivatives_by_student_and_gate(options: dict[str, Any]) -> None:
    student, teacher, hr = images(2, 3)
    made = fusion(**options)
    names = [name for name, _ in made.named_parameters()]

    def loss(student: Tensor, *parameters: Tensor) -> Tensor:
        state = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(made, state, (student, teacher, hr))

    assert torch.autograd.gradcheck(loss, (student.requires_grad_(), *made.parameters()), fast_mode=True)


@pytest.mark.parametrize("pixels", [1, 80, 1 << 13])
@pytest.mark.parametrize("options", [options for options, *_ in VARIANTS], ids=str)
def test_sample_by_sample_equals_the_whole_batch(
    options: dict[str, Any], pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss takes its gradient from one, two or all samples at a time; the definition takes the batch at once."""
    monkeypatch.setitem(by_sample.PIXELS_PER_PASS, "cpu", pixels)
    student, teacher, hr = images(3, 6)
    student.requires_grad_()
    made = fusion(**options)
    wanted = [student, *made.parameters()]
    whole = (student - made.target(student, teacher, hr)).abs().mean()
    expected = torch.autograd.grad(3 * whole, wanted)
    value = made(student, teacher, hr)
    assert value.item() == pytest.approx(whole.item(), rel=1e-12)
    for actual, wanted_grad in zip(torch.autograd.grad(3 * value, wanted), expected, strict=True):
        assert torch.allclose(actual, wanted_grad, rtol=1e-9, atol=1e-15)


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([v[0] for v in VARIANTS[:-1]]))
def test_weights_sum_to_one_at_any_shape(batch: int, height: int, width: int, options: dict[str, Any]) -> None:
    made = fusion(**options)
    assert made.gate is not None
    sources = made.gate.sources
    given_images = list(torch.rand(sources, batch, 3, height, width, dtype=torch.float64))
    weights = made.gate(given_images)
    pooled = options.get("pool", "none") != "none"
    size = (1, 1) if pooled else (height, width)
    assert weights.shape == (sources, batch, 1 if options.get("split") == "joint" else 3, *size)
    assert torch.allclose(weights.sum(0), torch.ones_like(weights[0]))
    # A mix of equal images is that image.
    same = given_images[0]
    assert torch.allclose(made.target(same, same, same), same)


def trained(options: dict[str, Any], steps: int = 300) -> tuple[Fusion, float]:
    """A gate trained hard on a student that sits on the teacher; the loss it ends with."""
    _, teacher, hr = images(2, 8)
    made = Fusion(**options).double()
    assert made.gate is not None
    optimiser = torch.optim.Adam(made.parameters(), lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = made(teacher, teacher, hr)
        loss.backward()
        optimiser.step()
    return made, made(teacher, teacher, hr).item()


@pytest.fixture(scope="module", params=[{}, JOINT, {"pool": "late"}], ids=str)
def bounded(request: pytest.FixtureRequest) -> tuple[Gate, float]:
    made, loss = trained(request.param)
    assert made.gate is not None
    return made.gate, loss


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.floats(0, 100))
def test_trained_weights_stay_inside_the_bound(bounded: tuple[Gate, float], seed: int, contrast: float) -> None:
    gate, _ = bounded
    generator = torch.Generator().manual_seed(seed)
    hr, teacher = contrast * (torch.rand(2, 1, 3, 5, 4, generator=generator, dtype=torch.float64) - 0.3)
    weights = gate([hr, teacher])
    assert weights.min() >= LOWEST - 1e-12
    assert weights.max() <= HIGHEST + 1e-12


def test_training_drives_bounded_weights_to_the_bound_and_others_beyond(bounded: tuple[Gate, float]) -> None:
    _, teacher, hr = images()
    distance = (teacher - hr).abs().mean().item()
    gate, loss = bounded
    assert loss == pytest.approx(LOWEST * distance, rel=0.02)
    assert gate([hr, teacher])[0].mean().item() == pytest.approx(LOWEST, rel=0.02)
    # Without the sigmoid, ACF becomes the distance between student and teacher, which is zero here.
    made, collapsed = trained({"bound": "none"})
    assert made.gate is not None
    assert collapsed < 0.02 * distance
    assert made.gate([hr, teacher])[0].max() < LOWEST / 2


@pytest.mark.parametrize(("inputs", "shares"), [("gt_t", (0, 1, 1)), ("s_t", (1, 1, 0)), ("gt_s_t", (1, 1, 1))])
def test_a_frozen_gate_mixes_equally_and_has_no_parameters(inputs: Any, shares: tuple[int, int, int]) -> None:
    made = Fusion(inputs, gate_training="frozen")
    given_images = images()
    expected = sum(w * x for w, x in zip(shares, given_images, strict=True)) / sum(shares)
    assert torch.allclose(made.target(*given_images), torch.as_tensor(expected))
    assert not list(made.parameters())


def test_a_gate_without_gradient_still_gives_one_to_the_student() -> None:
    student, teacher, hr = images()
    made = fusion().requires_grad_(False)
    made(student.requires_grad_(), teacher, hr).backward()
    assert student.grad is not None
    assert student.grad.abs().sum().item() == pytest.approx(1)


def test_gate_and_student_get_gradients_and_the_constants_none() -> None:
    student, teacher, hr = (x.requires_grad_() for x in images())
    made = fusion()
    made(student, teacher, hr).backward()
    assert all(p.grad is not None and p.grad.any() for p in made.parameters())
    assert student.grad is not None
    assert teacher.grad is None
    assert hr.grad is None


@pytest.mark.parametrize("inputs", ["gt_t", "s_t", "gt_s_t", "gt"])
def test_equal_images_have_no_loss(inputs: Any) -> None:
    _, _, hr = images()
    assert fusion(inputs=inputs)(hr, hr, hr).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"inputs": "t_gt"}, "acf_inputs is 't_gt': choose one of gt_t, s_t, gt_s_t, gt"),
        ({"split": "colour"}, "acf_split is 'colour': choose one of per_channel, joint"),
        ({"pool": "max"}, "acf_pool is 'max': choose one of none, global, late"),
        ({"bound": "clamp"}, "acf_bound is 'clamp': choose one of sigmoid, none"),
        ({"gate_training": "off"}, "acf_gate_training is 'off': choose one of joint, frozen"),
        ({"hidden": 0}, "acf_hidden is 0: set it to 1 or more"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HkdsrError, match=sentence):
        Fusion(**options)
