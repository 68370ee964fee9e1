"""PSNR and SSIM as SR papers report them: on the unrounded Y channel of 8-bit images, borders cropped.

Y is BT.601 in studio swing (16..235). A full-range or YIQ luma gives PSNRs 1.32 dB lower; rounding Y, as MATLAB's
``rgb2ycbcr`` does on uint8, moves the third decimal.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hkdsr.errors import HkdsrError

WINDOW = 11
SIGMA = 1.5
STRIP = 32


def luma(rgb: np.ndarray) -> np.ndarray:
    """Y of BT.601 of a uint8 RGB image (H, W, 3): float64 (H, W) in 16..235, not rounded.

    Raises HkdsrError for an array of another type or shape.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise HkdsrError(f"the metrics got {rgb.dtype} of shape {rgb.shape}: give uint8 RGB images (H, W, 3)")
    red, green, blue = np.moveaxis(rgb, 2, 0)
    return 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255


def psnr_y(sr: np.ndarray, hr: np.ndarray, crop: int) -> float:
    """PSNR in dB (peak 255) on Y of two uint8 RGB images (H, W, 3), ``crop`` pixels cut from each side.

    The published protocol crops ``scale`` pixels. Equal images give inf. Raises HkdsrError when the images differ
    in size, are not uint8 RGB, or when the crop leaves nothing.
    """
    a, b = _cropped_luma(sr, hr, crop, smallest=1)
    error = float(np.mean((a - b) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim_y(sr: np.ndarray, hr: np.ndarray, crop: int) -> float:
    """SSIM on Y of two uint8 RGB images (H, W, 3), ``crop`` pixels cut from each side; 1 for equal images.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004: Gaussian window
    11x11 of sigma 1.5, where it fits whole, K = (0.01, 0.03), no downsampling. Raises HkdsrError as ``psnr_y`` does,
    and when the crop leaves less than the window.
    """
    a, b = _cropped_luma(sr, hr, crop, smallest=WINDOW)
    # Strips of lines stay in the processor's cache, which is several times faster than whole images.
    starts = range(0, len(a) - WINDOW + 1, STRIP)
    total = sum(_ssim_sum(a[top : top + STRIP + WINDOW - 1], b[top : top + STRIP + WINDOW - 1]) for top in starts)
    return total / ((a.shape[0] - WINDOW + 1) * (a.shape[1] - WINDOW + 1))


def _ssim_sum(a: np.ndarray, b: np.ndarray) -> float:
    mean_a, mean_b, squares, product = _blur(np.stack((a, b, a * a + b * b, a * b)))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    means = mean_a * mean_b
    mean_squares = mean_a**2 + mean_b**2
    similarity = (2 * means + c1) * (2 * (product - means) + c2)
    similarity /= (mean_squares + c1) * (squares - mean_squares + c2)
    return float(similarity.sum())


def _blur(maps: np.ndarray) -> np.ndarray:
    """Gaussian of WINDOW taps along both axes of (N, H, W), only where it fits: (N, H - 10, W - 10)."""
    middle = WINDOW // 2
    taps = np.exp(-((np.arange(WINDOW) - middle) ** 2) / (2 * SIGMA**2))
    taps /= taps.sum()
    for axis in (1, 2):
        shifted = np.moveaxis(sliding_window_view(maps, WINDOW, axis=axis), -1, 0)
        maps = taps[middle] * shifted[middle]
        for k in range(middle):
            # The window is symmetric: two lines at a time.
            pair = shifted[k] + shifted[-1 - k]
            pair *= taps[k]
            maps += pair
    return maps


def _cropped_luma(sr: np.ndarray, hr: np.ndarray, crop: int, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = luma(sr), luma(hr)
    if a.shape != b.shape:
        raise HkdsrError(f"SR is {sr.shape} and HR {hr.shape}: give two images of one size")
    if crop < 0 or min(b.shape) - 2 * crop < smallest:
        raise HkdsrError(
            f"crop {crop} leaves too little of an image {hr.shape}: "
            f"give a crop of at least 0 that leaves {smallest} pixels or more a side"
        )
    inside = np.s_[crop : b.shape[0] - crop, crop : b.shape[1] - crop]
    return a[inside], b[inside]
