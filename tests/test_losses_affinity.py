"""Affinities of FAKD and the Gram distance against their definitions with whole matrices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from vectors import images

from hkdsr.losses import affinity, channel_affinity_distance, gram_distance, spatial_affinity_distance

Distance = Callable[[Tensor, Tensor], Tensor]
SIDES = st.integers(1, 9)


def features(batch: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randn(batch, channels, height, width, dtype=torch.float64)


def naive_gram(student: Tensor, teacher: Tensor) -> Tensor:
    s, t = student.flatten(2), teacher.flatten(2)
    return (s.mT @ s - t.mT @ t).abs().mean()


def unit(x: Tensor, dim: int | tuple[int, int]) -> Tensor:
    return x / (x.square().sum(dim, keepdim=True).sqrt() + 1e-8)


def test_vector_6_fakd() -> None:
    student, teacher, _ = images()
    fakd = spatial_affinity_distance(student, teacher) + channel_affinity_distance(student, teacher)
    assert fakd.item() == pytest.approx(0.0190463119, rel=1e-6)


def test_vector_3_direct() -> None:
    student, teacher, _ = images()
    assert gram_distance(student, teacher).item() == pytest.approx(0.03290622, rel=1e-6)


@pytest.mark.parametrize("rows", [1, 7, 128])
@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), SIDES, SIDES)
def test_spatial_affinity_and_gram_equal_the_definition(
    rows: int, batch: int, channels: int, wider: int, height: int, width: int
) -> None:
    student, teacher = features(batch, channels, height, width), features(batch, wider, height, width)
    patch = pytest.MonkeyPatch()
    patch.setattr(affinity, "ROWS", rows)
    student.requires_grad_()
    for actual, expected in (
        (gram_distance(student, teacher), naive_gram(student, teacher)),
        (spatial_affinity_distance(student, teacher), naive_gram(unit(student, 1), unit(teacher, 1))),
    ):
        assert actual.item() == pytest.approx(expected.item(), rel=1e-12, abs=1e-15)
        grads = [torch.autograd.grad(value, student)[0] for value in (actual, expected)]
        assert torch.allclose(*grads, rtol=1e-9, atol=1e-14)
    patch.undo()


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), SIDES, SIDES, st.integers(1, 5))
def test_the_mean_over_all_rows_is_the_distance_of_whole_matrices(
    batch: int, channels: int, wider: int, height: int, width: int, samples: int
) -> None:
    student, teacher = features(batch, channels, height, width), features(batch, wider, height, width)
    student.requires_grad_()
    positions = height * width
    total, by_rows = gram_distance(student, teacher), student.new_zeros(())
    for rows in torch.randperm(positions).split(samples):
        value = gram_distance(student, teacher, rows)
        s, t = student.flatten(2), teacher.flatten(2)
        expected = (s[..., rows].mT @ s - t[..., rows].mT @ t).abs().mean()
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
        by_rows = by_rows + value * len(rows) / positions
    torch.testing.assert_close(by_rows, total, rtol=1e-10, atol=1e-12)
    grads = [torch.autograd.grad(value, student)[0] for value in (by_rows, total)]
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)


def test_as_many_samples_as_positions_are_all_of_them() -> None:
    student, teacher, _ = images()
    positions = student.shape[-2] * student.shape[-1]
    before = torch.get_rng_state()
    assert spatial_affinity_distance(student, teacher, positions) == spatial_affinity_distance(student, teacher)
    assert torch.equal(torch.get_rng_state(), before)
    few = {float(spatial_affinity_distance(student, teacher, positions // 2)) for _ in range(3)}
    assert len(few) == 3  # drawn anew in each call


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 5), SIDES, SIDES)
def test_channel_affinity_equals_the_definition(batch: int, channels: int, height: int, width: int) -> None:
    student, teacher = features(batch, channels, height, width), features(batch, channels, height, width)
    s, t = (unit(x, (2, 3)) for x in (student, teacher))
    matrices = [torch.einsum("bchw,bdhw->bcd", x, x) for x in (s, t)]
    expected = (matrices[0] - matrices[1]).abs().mean()
    assert channel_affinity_distance(student, teacher).item() == pytest.approx(expected.item(), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("distance", [gram_distance, spatial_affinity_distance, channel_affinity_distance])
def test_derivatives(distance: Distance) -> None:
    student, teacher, _ = images(2, 5)
    assert torch.autograd.gradcheck(lambda s: distance(s, teacher), student.requires_grad_())


def test_derivatives_of_some_rows() -> None:
    student, teacher, _ = images(2, 5)
    rows = torch.tensor([3, 0, 17])
    assert torch.autograd.gradcheck(lambda s: gram_distance(s, teacher, rows), student.requires_grad_())


@pytest.mark.parametrize("distance", [spatial_affinity_distance, channel_affinity_distance])
def test_scale_does_not_matter_and_the_teacher_is_a_constant(distance: Distance) -> None:
    student, teacher, _ = images()
    value = distance(student, teacher).item()
    assert value > 0
    assert distance(7 * student, 0.1 * teacher).item() == pytest.approx(value, rel=1e-4)
    assert distance(3 * teacher, teacher).item() == pytest.approx(0, abs=1e-4 * value)
    teacher.requires_grad_()
    distance(student.requires_grad_(), teacher).backward()
    assert student.grad is not None
    assert student.grad.any()
    assert teacher.grad is None


def test_dead_features_give_finite_gradients() -> None:
    student = torch.zeros(1, 3, 4, 4, requires_grad=True)
    (
        spatial_affinity_distance(student, torch.rand(1, 3, 4, 4)) + channel_affinity_distance(student, student)
    ).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
