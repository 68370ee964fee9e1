"""Blur by a random kernel."""

from __future__ import annotations

from math import pi

import numpy as np
from numpy.fft import irfft2, rfft2
from scipy.fft import next_fast_len

from hkdsr.data.degrade.kernels import gaussian, plateau, sinc
from hkdsr.settings.degrade import Round, filled_in

SIZES = (7, 21)
"""Least and greatest side of a kernel in pixels; sides are odd."""
GENERALISED, PLATEAU = (0.5, 4.0), (1.0, 2.0)
"""Least and greatest shape of these kernels, half of them up to 1 and half of them from 1 on, as in Real-ESRGAN."""
LARGE = 13
"""A sinc kernel of this side or more may cut at pi / 5, a smaller one at pi / 3."""


def random_kernel(settings: Round, random: np.random.Generator) -> np.ndarray:
    """A kernel (size, size) as the resolved ``settings`` weight them."""
    size = random_size(random)
    if random.random() < filled_in(settings.blur_sinc):
        return sinc(size, random.uniform(pi / (3 if size < LARGE else 5), pi))
    weights = np.array(filled_in(settings.blur_kernels))
    kind = int(random.choice(len(weights), p=weights / weights.sum()))
    sigma = random.uniform(*filled_in(settings.blur_sigma), size=2)
    elongated = kind % 2 == 1
    axes = (float(sigma[0]), float(sigma[1] if elongated else sigma[0]))
    angle = random.uniform(-pi, pi) if elongated else 0.0
    if kind < 2:
        return gaussian(size, axes, angle)
    if kind < 4:
        return gaussian(size, axes, angle, _shape(GENERALISED, random))
    return plateau(size, axes, angle, _shape(PLATEAU, random))


def random_size(random: np.random.Generator) -> int:
    """A side from 7 to 21, odd."""
    return int(random.integers(SIZES[0] // 2, SIZES[1] // 2, endpoint=True)) * 2 + 1


def blurred(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """float32 (3, H, W) filtered by an odd kernel (size, size) through Fourier transforms; edges are reflected."""
    height, width = image.shape[1:]
    reach = len(kernel) // 2
    padded = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    # What wraps round falls into the padding, which is cut off.
    size = [_fast(side) for side in padded.shape[1:]]
    spectrum = rfft2(padded, size) * rfft2(kernel.astype(np.float32), size)
    whole = irfft2(spectrum, size)[:, 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]
    return np.ascontiguousarray(whole, np.float32)


def _fast(side: int) -> int:
    """The least length from ``side`` on that is quickly transformed."""
    length = next_fast_len(side, real=True)
    assert length is not None
    return length


def _shape(limits: tuple[float, float], random: np.random.Generator) -> float:
    least, most = limits
    return random.uniform(least, 1) if random.random() < 0.5 else random.uniform(1, most)
