"""PSNR-Y and SSIM-Y against golden values and a plain two-dimensional restatement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkdsr.errors import HkdsrError
from hkdsr.scoring.metrics import STRIP, luma, psnr_y, ssim_y


def golden_images() -> tuple[np.ndarray, np.ndarray]:
    """The two 24x24 images whose scores the reference implementation gave; they are stated in BGR."""
    i, j, c = np.mgrid[:24, :24, :3]
    a = (7 * i + 13 * j + 29 * c) % 256
    b = np.clip(a + (i * j + c) % 7 - 3, 0, 255)
    return a[..., ::-1].astype(np.uint8), b[..., ::-1].astype(np.uint8)


@pytest.mark.parametrize(
    ("crop", "psnr", "ssim"),
    [(0, 45.68841558, 0.99862455), (2, 45.76334060, 0.99891903), (4, 45.84176195, 0.99942308)],
)
def test_golden_scores(crop: int, psnr: float, ssim: float) -> None:
    a, b = golden_images()
    assert psnr_y(a, b, crop) == pytest.approx(psnr, rel=1e-6)
    assert ssim_y(a, b, crop) == pytest.approx(ssim, rel=1e-6)


def test_golden_luma() -> None:
    rgb = np.array([[[58, 29, 0], [184, 155, 126]]], dtype=np.uint8)
    assert luma(rgb)[0] == pytest.approx([45.51347, 153.72523], rel=1e-6)


def test_luma_spans_the_studio_range() -> None:
    assert luma(np.zeros((1, 1, 3), np.uint8)).item() == pytest.approx(16)
    assert luma(np.full((1, 1, 3), 255, np.uint8)).item() == pytest.approx(235)


def plain_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al.'s SSIM as the paper writes it: one window at a time, weighted means and variances."""
    x = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(x, x) / x.sum() ** 2
    scores = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            p, q = a[top : top + 11, left : left + 11], b[top : top + 11, left : left + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            covariance = (window * (p - mp) * (q - mq)).sum()
            scores.append((2 * mp * mq + 6.5025) * (2 * covariance + 58.5225))
            scores[-1] /= (mp**2 + mq**2 + 6.5025) * (vp + vq + 58.5225)
    return float(np.mean(scores))


@given(st.sampled_from([11, 12, STRIP + 9, STRIP + 10, STRIP + 11, 2 * STRIP + 13]), st.integers(11, 20), st.integers())
def test_ssim_equals_the_definition(height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(abs(seed))
    a = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    b = np.clip(a + random.normal(0, 20, a.shape), 0, 255).astype(np.uint8)
    assert ssim_y(a, b, 0) == pytest.approx(plain_ssim(luma(a), luma(b)), rel=1e-9)


def test_equal_images() -> None:
    a, _ = golden_images()
    assert psnr_y(a, a, 0) == math.inf
    assert ssim_y(a, a, 0) == pytest.approx(1, abs=1e-12)


def test_cropped_border_does_not_count() -> None:
    a, b = golden_images()
    spoilt = b.copy()
    spoilt[:4], spoilt[-4:], spoilt[:, :4], spoilt[:, -4:] = 0, 255, 0, 255
    assert psnr_y(a, spoilt, 4) == psnr_y(a, b, 4)
    assert ssim_y(a, spoilt, 4) == ssim_y(a, b, 4)
    assert psnr_y(a, spoilt, 3) < psnr_y(a, b, 3)


def test_uniform_shift_has_its_known_psnr() -> None:
    a = np.full((16, 16, 3), 100, np.uint8)
    assert psnr_y(a, a + np.uint8(10), 0) == pytest.approx(20 * math.log10(255 / (10 * 219 / 255)))


@pytest.mark.parametrize(
    ("sr", "hr", "crop", "says"),
    [
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 21, 3), np.uint8), 0, "one size"),
        (np.zeros((20, 20, 3)), np.zeros((20, 20, 3)), 0, "float64"),
        (np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8), 0, "RGB"),
        (np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 4), np.uint8), 0, "RGB"),
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20, 3), np.uint8), 10, "crop 10"),
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20, 3), np.uint8), -1, "crop -1"),
    ],
)
def test_unfit_images(sr: np.ndarray, hr: np.ndarray, crop: int, says: str) -> None:
    for metric in (psnr_y, ssim_y):
        with pytest.raises(HkdsrError, match=says):
            metric(sr, hr, crop)


def test_ssim_needs_a_whole_window() -> None:
    small = np.zeros((20, 20, 3), np.uint8)
    assert psnr_y(small, small, 5) == math.inf
    with pytest.raises(HkdsrError, match="11 pixels"):
        ssim_y(small, small, 5)
