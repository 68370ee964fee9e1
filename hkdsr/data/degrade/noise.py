"""Gaussian and Poisson noise, in colour or grey."""

from __future__ import annotations

import numpy as np

GREY = np.array([0.2989, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in a grey image."""


def gaussian_noise(image: np.ndarray, sigma: float, grey: bool, random: np.random.Generator) -> np.ndarray:
    """float32 (3, H, W) in [0, 1] plus noise of standard deviation ``sigma`` in grey levels of 255; not clamped.

    ``grey``: the same noise in all three colours.
    """
    shape = (1, *image.shape[1:]) if grey else image.shape
    return image + random.standard_normal(shape, np.float32) * np.float32(sigma / 255)


def poisson_noise(image: np.ndarray, strength: float, grey: bool, random: np.random.Generator) -> np.ndarray:
    """float32 (3, H, W) in [0, 1] plus ``strength`` times the noise of counted light; not clamped.

    The image, rounded to 8 bits, is counted in as many steps as it has values, rounded up to a power of 2, so that the
    noise has the variance strength^2 * image / steps. ``grey``: the noise of the grey image in all three colours.
    """
    levels = np.rint(np.clip(image, 0, 1) * 255)
    if grey:
        levels = np.rint(np.tensordot(GREY, levels, 1))[None]
    values = np.count_nonzero(np.bincount(levels.astype(np.uint8).ravel()))
    steps = 2.0 ** np.ceil(np.log2(values)) / 255
    counted = random.poisson(levels * steps) / steps
    return image + ((counted - levels) * (strength / 255)).astype(np.float32)
