"""Gaussian and Poisson noise, in colour or grey."""

from __future__ import annotations

import numpy as np

GREY = np.array([0.2989, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in a grey image."""
COUNTS = 256


def gaussian_noise(image: np.ndarray, sigma: float, grey: bool, random: np.random.Generator) -> np.ndarray:
    """float32 (3, H, W) in [0, 1] plus noise of standard deviation ``sigma`` in grey levels of 255; not clamped.

    ``grey``: the same noise in all three colours.
    """
    shape = (1, *image.shape[1:]) if grey else image.shape
    return image + random.standard_normal(shape, np.float32) * np.float32(sigma / 255)


def poisson_noise(image: np.ndarray, strength: float, grey: bool, random: np.random.Generator) -> np.ndarray:
    """float32 (3, H, W) in [0, 1] plus ``strength`` times the noise of counted light; not clamped.

    White is 256 counts, so that the noise has the variance strength^2 * image / 256. ``grey``: the noise of the grey
    image in all three colours.
    """
    # Real-ESRGAN counts in as many steps as the image has values, rounded up to a power of 2. These are 256 for a
    # photograph, but for a small crop of plain sky they may be 4, whose noise nothing could be seen through.
    light = np.clip(image, 0, 1)
    if grey:
        light = np.tensordot(GREY, light, 1)[None]
    counted = random.poisson(light * np.float32(COUNTS)) / COUNTS
    return image + ((counted - light) * strength).astype(np.float32)
