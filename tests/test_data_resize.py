"""MATLAB's bicubic against a plain float64 restatement, its algebra, and the published bicubic scores."""

from __future__ import annotations

from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.autograd import gradcheck

from hkdsr.data.resize import imresize, mod_crop, resize_weights
from hkdsr.errors import HkdsrError

SCALES = [1 / 2, 1 / 3, 1 / 4, 0.37, 0.9, 1, 1.5, 2, 3, 4]


def keys_cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def plain_matrix(size: int, scale: float) -> np.ndarray:
    """One axis as the textbook has it: every source pixel of the endlessly mirrored line, weighted and normalised."""
    shrink = min(scale, 1)
    matrix = np.zeros((ceil(size * scale), size))
    for out in range(len(matrix)):
        centre = (out + 0.5) / scale - 0.5
        for source in range(floor(centre - 2 / shrink) - 1, ceil(centre + 2 / shrink) + 2):
            mirrored = source
            while not 0 <= mirrored < size:
                mirrored = -1 - mirrored if mirrored < 0 else 2 * size - 1 - mirrored
            matrix[out, mirrored] += keys_cubic(shrink * (centre - source))
    return matrix / matrix.sum(axis=1, keepdims=True)


def plain_resize(image: np.ndarray, scale: float, *, rounded: bool) -> np.ndarray:
    """Rows first, then columns; float64 (H, W, C), rounded half up and saturated after each axis if asked."""
    rows, columns = (plain_matrix(size, scale) for size in image.shape[:2])
    for matrix, axes in ((rows, "oh,hwc->owc"), (columns, "ow,hwc->hoc")):
        image = np.einsum(axes, matrix, image)
        if rounded:
            # The slack makes half-way cases go up in spite of the noise that another order of summing has.
            image = np.clip(np.floor(image + 0.5 + 1e-9), 0, 255)
    return image


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(SCALES), st.integers(0, 2**32))
def test_floats_equal_the_plain_restatement(height: int, width: int, scale: float, seed: int) -> None:
    image = np.random.default_rng(seed).random((height, width, 3))
    resized = imresize(torch.from_numpy(image).permute(2, 0, 1), scale).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(resized, plain_resize(image, scale, rounded=False), atol=1e-12)


# At other scales exact halves are a matter of rounding noise, in MATLAB as well.
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1 / 2, 1 / 4, 2, 4]), st.integers(0, 2**32))
def test_bytes_equal_the_plain_restatement(height: int, width: int, scale: float, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    resized = imresize(image, scale)
    assert resized.dtype == np.uint8
    np.testing.assert_array_equal(resized, plain_resize(image, scale, rounded=True))


@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 1 / 4])
def test_real_image_equals_the_plain_restatement(shared: Path, scale: float) -> None:
    image = np.asarray(Image.open(shared / "benchmarks/Set5/HR/butterfly.png").convert("RGB"))
    np.testing.assert_array_equal(imresize(image, scale), plain_resize(image, scale, rounded=True))


def test_x2_weights_are_those_of_the_widened_kernel() -> None:
    source, weights = resize_weights(32, 0.5)
    row = weights[8][weights[8] != 0]
    assert (row * 256).tolist() == [-3, -9, 29, 111, 111, 29, -9, -3]
    assert source[8][weights[8] != 0].tolist() == list(range(13, 21))


@given(st.integers(1, 60), st.sampled_from(SCALES))
def test_weights_are_a_partition_of_unity(size: int, scale: float) -> None:
    source, weights = resize_weights(size, scale)
    assert source.shape == weights.shape
    assert source.shape[0] == ceil(size * scale)
    assert 0 <= int(source.min()) <= int(source.max()) < size
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-14)


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from(SCALES), st.integers(0, 255))
def test_constant_images_stay_constant(height: int, width: int, scale: float, value: int) -> None:
    size = (ceil(height * scale), ceil(width * scale))
    assert (imresize(np.full((height, width), value, np.uint8), scale) == value).all()
    for dtype in (torch.float32, torch.bfloat16):
        flat = torch.full((1, height, width), value / 255, dtype=dtype)
        torch.testing.assert_close(imresize(flat, scale), flat[:, :1, :1].expand(1, *size))


def test_uint16_keeps_its_range() -> None:
    image = np.full((8, 8, 3), 65535, np.uint16)
    image[4:] = 0
    resized = imresize(image, 2)
    assert resized.dtype == np.uint16
    assert (int(resized.min()), int(resized.max())) == (0, 65535)
    assert 0 < np.count_nonzero((resized > 0) & (resized < 65535)) < resized.size


def test_grey_equals_each_channel() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (21, 34), dtype=np.uint8)
    resized = imresize(np.stack((grey, grey, grey), axis=2), 1 / 3)
    assert (resized == imresize(grey, 1 / 3)[..., None]).all()


def test_bytes_round_after_each_axis_rows_first() -> None:
    """An image for which the order of the axes shows: the transposed image gives other bytes."""
    image = np.random.default_rng(1).integers(0, 256, (40, 40), dtype=np.uint8)
    assert (imresize(image, 0.5) != imresize(np.ascontiguousarray(image.T), 0.5).T).any()


@pytest.mark.parametrize("scale", [1 / 3, 0.5, 2])
def test_gradient_is_the_adjoint(scale: float) -> None:
    x = torch.randn(2, 7, 9, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda t: imresize(t, scale), x)
    resized = imresize(x, scale)
    y = torch.randn_like(resized)
    (back,) = torch.autograd.grad(resized, x, y)
    other = torch.randn_like(x)
    torch.testing.assert_close((imresize(other, scale) * y).sum(), (other * back).sum())


def test_gradients_after_inference_of_the_same_size() -> None:
    with torch.inference_mode():
        imresize(torch.rand(3, 17, 19), 0.5)
    x = torch.rand(3, 17, 19, requires_grad=True)
    imresize(x, 0.5).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.sum(), torch.tensor(3.0 * 9 * 10))


def test_input_is_left_alone() -> None:
    image = np.random.default_rng(2).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image.flags.writeable = False
    imresize(image, 0.5)
    x = torch.rand(3, 9, 9)
    before = x.clone()
    imresize(x, 1)
    assert torch.equal(x, before)


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4,), np.uint8), np.zeros((0, 4), np.uint8)])
def test_unfit_arrays(image: np.ndarray) -> None:
    with pytest.raises(HkdsrError, match="give a uint8"):
        imresize(image, 0.5)


@pytest.mark.parametrize("image", [torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(4), torch.zeros(3, 0, 4)])
def test_unfit_tensors(image: torch.Tensor) -> None:
    with pytest.raises(HkdsrError, match="float tensor"):
        imresize(image, 0.5)


@pytest.mark.parametrize("scale", [0, -2, float("nan"), float("inf")])
def test_unfit_scales(scale: float) -> None:
    with pytest.raises(HkdsrError, match="above 0"):
        imresize(np.zeros((4, 4), np.uint8), scale)


def test_mod_crop() -> None:
    image = np.arange(7 * 9 * 3, dtype=np.uint8).reshape(7, 9, 3)
    assert (mod_crop(image, 4) == image[:4, :8]).all()
    assert mod_crop(image, 1).shape == image.shape
