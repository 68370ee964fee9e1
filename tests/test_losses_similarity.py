"""FSM against the vectors of docs/method.md and against its definition with whole N x N matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from definition import gradient, naive, noise
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from vectors import images

from hkdsr.errors import HkdsrError
from hkdsr.losses import fsm, fsm_sum, haar, similarity_distance


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0.0721744625),
        ({"levels": 1}, 0.00879565921),
        ({"mode": "low"}, 0.157513026),
        ({"norm": "cosine"}, 0.352272886),
        ({"domain": "pixel", "low_weight": 0.02}, 0.013008045),
        ({"domain": "pixel"}, 0.012060378),
        ({"domain": "pixel", "mode": "low"}, 0.0473833469),
        ({"low_weight": 1.0}, 0.0721744625 + 0.157513026),
        ({"mode": "direct"}, 0.03290622),
        ({"mode": "wave", "levels": 1}, 0.0346020525),
    ],
)
def test_vector_3(options: dict[str, Any], expected: float) -> None:
    assert fsm(*images(), **options).item() == pytest.approx(expected, rel=1e-6)


def test_vector_3_at_other_sizes() -> None:
    assert fsm(*images(2, 16)).item() == pytest.approx(0.086621295, rel=1e-6)
    assert fsm(*images(1, 6)).item() == pytest.approx(0.0716329282, rel=1e-6)


def test_vector_3_band_by_band() -> None:
    expected = (0.157513026, 0.00223588527, 0.00616991574, 0.0003898582, 0.0115129222, 0.0383668233, 0.0134990578)
    bands = zip(*(haar(x, 2) for x in images()), strict=True)
    actual = [similarity_distance((s - t).flatten(2), g.flatten(2)).item() for s, t, g in bands]
    assert actual == pytest.approx(expected, rel=1e-6)
    student, teacher, hr = images()
    pixels = [similarity_distance((student - teacher).flatten(2), g.flatten(2)).item() for g in haar(hr, 1)]
    assert pixels == pytest.approx((0.0473833469, 0.00319445934, 0.00771540016, 0.00115051854), rel=1e-6)


def test_vector_3_gradient() -> None:
    student, teacher, hr = images()
    _, grad = gradient(lambda s: fsm(s, teacher, hr), student)
    actual = (grad[0, 0, 0, 0], grad[0, 1, 3, 5], grad[1, 2, 7, 7], grad.abs().sum())
    expected = (-0.00840090863, 0.00806491055, -0.0069791456, 4.39513155)
    assert [value.item() for value in actual] == pytest.approx(expected, rel=1e-6)


@given(st.integers(1, 3), st.integers(1, 19), st.integers(1, 19), st.integers(1, 3))
def test_equals_the_definition_at_any_shape(batch: int, height: int, width: int, levels: int) -> None:
    student, teacher, hr = noise(batch, 3, height, width)
    value, grad = gradient(lambda s: fsm(s, teacher, hr, levels), student)
    expected, expected_grad = gradient(lambda s: naive(s, teacher, hr, levels), student)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12, abs=1e-15)
    assert torch.allclose(grad, expected_grad, rtol=1e-9, atol=1e-14)


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda x: x,
    "grey": lambda x: x.mean(1, keepdim=True).expand_as(x),
    "red": lambda x: x * torch.tensor([1.0, 0, 0], dtype=x.dtype)[:, None, None],
    "yellow": lambda x: x * torch.tensor([1.0, 1, 0], dtype=x.dtype)[:, None, None],
    "constant": lambda x: torch.full_like(x, 0.3),
    "black": torch.zeros_like,
    "few levels": lambda x: (3 * x).round() / 3,
    "half flat": lambda x: torch.cat([x[..., : x.shape[-1] // 2], torch.zeros_like(x[..., x.shape[-1] // 2 :])], -1),
}


@pytest.mark.parametrize("kind_of_hr", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_special_colours(kind: str, kind_of_hr: str) -> None:
    student, teacher, hr = noise(2, 3, 13, 12)
    student, teacher, hr = KINDS[kind](student), KINDS[kind](teacher), KINDS[kind_of_hr](hr)
    value, grad = gradient(lambda s: fsm(s, teacher, hr), student)
    assert value.item() == pytest.approx(naive(student, teacher, hr).item(), rel=1e-12, abs=1e-15)
    # Where products are zero the gradient is not unique, but FSM is convex in S: it must lie above every tangent.
    for _ in range(20):
        other = student + 0.1 * torch.randn_like(student)
        tangent = value + (grad * (other - student)).sum()
        assert naive(other, teacher, hr) >= tangent - 1e-12


@given(st.integers(0, 999), st.integers(1, 7), st.integers(1, 7))
def test_ties_are_exact_in_value_and_tangent(seed: int, height: int, width: int) -> None:
    """Colours of three levels only: a third of all products are zero."""
    torch.manual_seed(seed)
    difference, truth = torch.randint(-1, 2, (2, 2, 3, height * width)).double()

    def definition(d: Tensor) -> Tensor:
        return (d.mT @ truth).abs().mean()

    value, grad = gradient(lambda d: similarity_distance(d, truth), difference)
    assert value.item() == pytest.approx(definition(difference).item(), abs=1e-12)
    for step in (1e-6, 1.0):
        other = difference + step * torch.randn_like(difference)
        assert definition(other) >= value + (grad * (other - difference)).sum() - 1e-12


@pytest.mark.parametrize("mode", ["gt_similarity", "low", "direct", "wave"])
def test_a_perfect_student_has_no_loss_and_no_gradient(mode: Any) -> None:
    _, teacher, hr = images()
    value, grad = gradient(lambda s: fsm(s, teacher, hr, mode=mode), teacher)
    assert value.item() == 0
    assert not grad.any()


def test_constant_ground_truth_gives_zero() -> None:
    student, teacher, hr = images()
    value, grad = gradient(lambda s: fsm(s, teacher, torch.full_like(hr, 0.7)), student)
    assert value.item() == 0
    assert not grad.any()


def test_invariances() -> None:
    student, teacher, hr = images()
    value = fsm(student, teacher, hr).item()
    colour = torch.tensor([0.1, -0.2, 0.05], dtype=torch.float64)[:, None, None]
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    s, t, g = (torch.einsum("xc,bchw->bxhw", rotation, x) for x in (student, teacher, hr))
    assert value == pytest.approx(0.0721744625, rel=1e-6)
    assert fsm(student + colour, teacher, hr).item() == pytest.approx(value, rel=1e-9)
    assert fsm(s, t, g).item() == pytest.approx(value, rel=1e-9)
    assert fsm(teacher, student, hr).item() == pytest.approx(value, rel=1e-9)
    assert fsm(student, teacher, -hr).item() == pytest.approx(value, rel=1e-9)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_degree_one_in_the_difference_and_in_the_ground_truth(a: float, b: float) -> None:
    student, teacher, hr = images()
    expected = a * b * fsm(student, teacher, hr).item()
    assert fsm(a * student, a * teacher, b * hr).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        *({"levels": levels} for levels in (1, 2, 3)),
        {"low_weight": 0.02},
        {"mode": "low"},
        {"norm": "cosine"},
        {"domain": "pixel", "low_weight": 0.02},
        {"domain": "pixel", "norm": "cosine"},
        {"mode": "direct"},
        {"mode": "wave"},
    ],
    ids=str,
)
def test_derivatives(options: dict[str, Any]) -> None:
    student, teacher, hr = images(1, 7)
    assert torch.autograd.gradcheck(lambda s: fsm(s, teacher, hr, **options), student.requires_grad_())
    students = [student.detach().requires_grad_(), (student.detach() + 0.1 * hr).requires_grad_()]
    assert torch.autograd.gradcheck(
        lambda *s: fsm_sum(s, [teacher, hr], hr, [0.2, 0.8], **options), students, fast_mode=True
    )


@pytest.mark.parametrize(
    "options",
    [
        {"low_weight": 0.1},
        {"mode": "low"},
        {"norm": "cosine"},
        {"domain": "pixel"},
        {"mode": "direct"},
        {"mode": "wave"},
        {"levels": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("side", [1, 2, 5, 8])
def test_all_exits_at_once_are_the_weighted_sum(side: int, options: dict[str, Any]) -> None:
    *students, one, two, hr = torch.rand(5, 2, 3, side, side + 1, dtype=torch.float64)
    teachers, weights = [one, two], [0.2, 0.8]
    each = sum(w * fsm(s, t, hr, **options) for w, s, t in zip(weights, students, teachers, strict=True))
    assert float(fsm_sum(students, teachers, hr, weights, **options)) == pytest.approx(float(each), rel=1e-9)


@pytest.mark.parametrize("mode", ["gt_similarity", "low", "direct", "wave"])
def test_only_the_student_gets_a_gradient(mode: Any) -> None:
    student, teacher, hr = (x.requires_grad_() for x in images())
    fsm(student, teacher, hr, mode=mode).backward()
    assert student.grad is not None
    assert student.grad.any()
    assert teacher.grad is None
    assert hr.grad is None


def test_nan_in_the_student_gives_nan() -> None:
    student, teacher, hr = images()
    student[0, 1, 2, 3] = float("nan")
    assert fsm(student, teacher, hr).isnan()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "high"}, "FSM mode is 'high': choose one of gt_similarity, low, direct, wave"),
        ({"domain": "dct"}, "FSM domain is 'dct': choose one of wavelet, pixel"),
        ({"norm": "l2"}, "FSM norm is 'l2': choose one of none, cosine"),
        ({"samples": 0}, "FSM samples is 0: set it to 1 or more"),
        ({"samples": -3}, "FSM samples is -3: set it to 1 or more"),
        ({"levels": 0}, "levels is 0: set it to 1 or more"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HkdsrError, match=sentence):
        fsm(*images(), **options)


def test_images_of_different_shapes_are_refused() -> None:
    student, teacher, hr = images()
    for wrong in ((student[..., :4], teacher, hr), (student, teacher[:1], hr), (student, teacher, hr[:, :1])):
        with pytest.raises(HkdsrError, match=r"images of one shape, and .*: crop them$"):
            fsm(*wrong)
