"""Each kind of degradation against a plain restatement: moments of kernels, statistics of noise, Pillow's JPEG."""

from __future__ import annotations

from io import BytesIO
from math import pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from hkdsr.data import rgb
from hkdsr.data.degrade.blur import blurred, random_kernel
from hkdsr.data.degrade.jpeg import compressed
from hkdsr.data.degrade.kernels import gaussian, plateau, sinc
from hkdsr.data.degrade.noise import gaussian_noise, poisson_noise
from hkdsr.data.degrade.resize import random_factor, resized
from hkdsr.data.embedded import demo_files
from hkdsr.settings.degrade import REAL_ESRGAN

OFFSETS = np.arange(41) - 20.0


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def covariance(kernel: np.ndarray) -> np.ndarray:
    """Of the offsets (column, row) from the middle, weighted by the kernel."""
    rows, columns = np.meshgrid(OFFSETS, OFFSETS, indexing="ij")
    places = np.stack([columns.ravel(), rows.ravel()])
    return (places * kernel.ravel()) @ places.T


def test_a_gaussian_has_the_variances_and_the_angle_that_are_asked_for() -> None:
    for sigma, angle in (((2.0, 2.0), 0.0), ((3.0, 1.5), 0.0), ((3.0, 1.5), 0.7)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        expected = turn @ np.diag(np.square(sigma)) @ turn.T
        np.testing.assert_allclose(covariance(gaussian(41, sigma, angle)), expected, atol=1e-3)


def test_generalised_gaussians_and_plateaus_have_the_values_of_their_formulas() -> None:
    plain = gaussian(41, (2.0, 3.0), 0.3)
    np.testing.assert_array_equal(gaussian(41, (2.0, 3.0), 0.3, shape=1.0), plain)
    # By hand: two pixels at q = 1 and q = 4, relative to the centre.
    values = gaussian(41, (2.0, 2.0), shape=0.5)[20, [20, 22, 24]]
    np.testing.assert_allclose(values[1:] / values[0], [np.exp(-0.5), np.exp(-1.0)])
    values = plateau(41, (2.0, 2.0), shape=1.5)[20, [20, 22, 24]]
    np.testing.assert_allclose(values[1:] / values[0], [1 / 2, 1 / (1 + 4**1.5)])


def test_a_sinc_kernel_keeps_what_is_below_its_cutoff_and_removes_what_is_above() -> None:
    response = np.abs(np.fft.fft2(np.pad(sinc(41, pi / 2), 44)))[0]
    frequency = 2 * pi * np.fft.fftfreq(len(response))
    assert response[np.abs(frequency) < 0.35 * pi] == pytest.approx(1, abs=0.1)
    assert response[np.abs(frequency) > 0.65 * pi] == pytest.approx(0, abs=0.1)
    assert sinc(7, pi / 3)[3, 3] == pytest.approx(sinc(7, pi / 3).max())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 40), width=st.integers(1, 40))
def test_random_kernels_are_odd_and_sum_to_1_and_fit_any_image(seed: int, height: int, width: int) -> None:
    kernel = random_kernel(REAL_ESRGAN.first, generator(seed))
    side = len(kernel)
    assert kernel.shape == (side, side)
    assert side % 2 == 1
    assert 7 <= side <= 21
    assert kernel.sum() == pytest.approx(1)
    assert np.allclose(kernel, kernel[::-1, ::-1])
    flat = np.full((3, height, width), 0.6, np.float32)
    result = blurred(flat, kernel)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, flat, atol=1e-5)


def test_a_blur_is_the_plain_convolution_with_reflected_edges() -> None:
    image = generator().random((3, 23, 30), np.float32)
    kernel = gaussian(9, (2.0, 1.0), 0.4)
    kernel[0, 2] += 0.2  # not symmetric, so that a flipped kernel is noticed
    expected = [ndimage.convolve(plane.astype(np.float64), kernel, mode="mirror") for plane in image]
    np.testing.assert_allclose(blurred(image, kernel), expected, atol=1e-5)


@pytest.mark.parametrize("grey", [False, True])
def test_gaussian_noise_has_its_sigma_and_colours_agree_only_if_grey(grey: bool) -> None:
    image = np.full((3, 300, 300), 0.5, np.float32)
    added = gaussian_noise(image, 12.0, grey, generator()) - image
    assert added.mean() == pytest.approx(0, abs=3 * 12 / 255 / 300)
    assert added.std() * 255 == pytest.approx(12, rel=0.01)
    between = np.asarray(np.corrcoef(added.reshape(3, -1)))[0, 1]
    assert between == pytest.approx(1.0 if grey else 0.0, abs=0.02)


@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise_has_the_variance_of_counted_light(grey: bool) -> None:
    """At 256 counts for white, and strength^2 of it, whatever the number of values in the image."""
    levels = np.repeat([51, 102, 204], 200)[:, None].repeat(200, axis=1)
    image = (np.stack([levels] * 3) / 255).astype(np.float32)
    added = poisson_noise(image, 0.5, grey, generator()) - image
    for part, level in enumerate((51, 102, 204)):
        noise = added[:, 200 * part : 200 * (part + 1)]
        assert noise.var() == pytest.approx(0.25 * level / 255 / 256, rel=0.04)
        assert noise.mean() == pytest.approx(0, abs=5e-4)
    assert np.asarray(np.corrcoef(added.reshape(3, -1)))[0, 1] == pytest.approx(1.0 if grey else 0.0, abs=0.02)


def test_jpeg_is_that_of_pillow() -> None:
    image = rgb(next(iter(demo_files()[0].values())))[:90, :121]
    file = BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=42)
    np.testing.assert_array_equal(compressed(image, 42), np.asarray(Image.open(file)))


def test_factors_are_drawn_by_their_weights() -> None:
    random = generator()
    factors = np.array([random_factor((0.2, 0.7, 0.1), (0.15, 1.5), random) for _ in range(4000)])
    assert (factors > 1).mean() == pytest.approx(0.2, abs=0.025)
    assert (factors == 1).mean() == pytest.approx(0.1, abs=0.025)
    assert factors.min() >= 0.15
    assert factors.max() <= 1.5
    assert factors[factors < 1].mean() == pytest.approx((0.15 + 1) / 2, abs=0.02)


def test_area_is_the_mean_and_other_kernels_keep_a_ramp() -> None:
    image = generator().random((3, 12, 8), np.float32)
    means = image.reshape(3, 6, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose(resized(image, (6, 4), "area"), means, atol=1e-6)
    ramp = np.broadcast_to(np.arange(16, dtype=np.float32), (3, 16, 16)).copy()
    for kernel in ("bilinear", "bicubic"):
        inside = resized(ramp, (8, 8), kernel)[:, :, 2:-2]
        np.testing.assert_allclose(inside, np.broadcast_to(np.arange(8)[2:-2] * 2 + 0.5, inside.shape), atol=1e-5)
