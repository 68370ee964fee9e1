"""The Haar transform: the vectors of docs/method.md, PyWavelets, and what an orthonormal transform keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.losses import haar

SIDES = st.integers(1, 21)


def image(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def is_tensor(actual: Tensor, expected: object) -> bool:
    return torch.allclose(actual, torch.tensor(expected, dtype=actual.dtype).expand_as(actual), rtol=1e-12, atol=1e-12)


def test_vector_1_of_four_by_four() -> None:
    x = torch.arange(16, dtype=torch.float64).reshape(4, 4)
    low, *details = haar(x, 1)
    assert is_tensor(low, [[5, 9], [21, 25]])
    assert [is_tensor(band, value) for band, value in zip(details, (-4, -1, 0), strict=True)] == [True] * 3
    low2, *both = haar(x, 2)
    assert all(torch.equal(one, other) for one, other in zip(both[:3], details, strict=True))
    assert [band.item() for band in (low2, *both[3:])] == pytest.approx([30, -16, -4, 0])


def test_vector_1_of_an_odd_side() -> None:
    low, vertical, horizontal, diagonal = haar(torch.arange(9, dtype=torch.float64).reshape(3, 3), 1)
    assert is_tensor(low, [[4, 3.5], [6.5, 4]])
    assert is_tensor(vertical, [[-3, -1.5], [6.5, 4]])
    assert is_tensor(horizontal, [[-1, 3.5], [-0.5, 4]])
    assert is_tensor(diagonal, [[0, -1.5], [-0.5, 4]])


def test_vector_2() -> None:
    c, i, j = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (3, 8, 8)), indexing="ij")
    x = torch.sin(c + 0.3 * i + 0.7 * j)
    expected = [
        (2.70789992, 2.5463888, 20.4357132),
        (-0.246386752, 0.0591822293, 8.57400958),
        (-0.595084233, 0.14293955, 20.708329),
        (-0.0491334545, 0.100181212, 3.13082098),
        (-0.0594019331, -0.291088812, 6.34840087),
        (-0.161744891, -0.792602626, 17.2859931),
        (-0.705544213, -0.663462438, 5.32453178),
    ]
    bands = haar(x, 2)
    actual = [(band[0, 0, 0].item(), band[2, 1, 1].item(), band.abs().sum().item()) for band in bands]
    assert np.array(actual) == pytest.approx(np.array(expected), rel=1e-6)
    energy = [sum(v.square().sum().item() for v in values) for values in ((x,), bands)]
    assert energy == pytest.approx([95.8288824] * 2, rel=1e-8)


@given(SIDES, SIDES, st.integers(1, 4))
def test_equals_pywavelets(height: int, width: int, levels: int) -> None:
    x = image(2, height, width)
    low, *details = haar(x, levels)
    expected = x.numpy()
    for level in range(levels):
        expected, bands = pywt.dwt2(expected, "haar", mode="zero")
        for actual, band in zip(details[3 * level : 3 * level + 3], bands, strict=True):
            assert actual.numpy() == pytest.approx(band, abs=1e-12)
    assert low.numpy() == pytest.approx(expected, abs=1e-12)


@given(SIDES, SIDES, st.integers(1, 4))
def test_sizes_and_inner_products_are_kept(height: int, width: int, levels: int) -> None:
    x, y = image(2, 3, height, width), image(2, 3, height, width)
    transformed = haar(x, levels), haar(y, levels)
    assert len(transformed[0]) == 3 * levels + 1
    for index, band in enumerate(transformed[0]):
        level = levels if index == 0 else (index + 2) // 3
        assert band.shape == (2, 3, math.ceil(height / 2**level), math.ceil(width / 2**level))
    # Orthonormal, so the transpose is the inverse: inner products (and with them energies) stay.
    kept = sum((a * b).sum() for a, b in zip(*transformed, strict=True))
    assert float(kept) == pytest.approx(float((x * y).sum()), abs=1e-9)


def test_the_gradient_is_the_transpose() -> None:
    x = image(1, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(haar(x, 3)), (x,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_type_is_kept(dtype: torch.dtype) -> None:
    assert {band.dtype for band in haar(torch.ones(3, 5, 4, dtype=dtype), 2)} == {dtype}


def test_the_image_is_not_changed() -> None:
    x = image(3, 4, 6)
    before = x.clone()
    haar(x, 2)
    assert torch.equal(x, before)


@pytest.mark.parametrize("levels", [0, -1])
def test_levels_below_one_are_refused(levels: int) -> None:
    with pytest.raises(HkdsrError, match=f"levels is {levels}: set it to 1 or more"):
        haar(image(4, 4), levels)
