"""Blur kernels: Gaussian, generalised Gaussian, plateau and sinc, each a float64 array (size, size) that sums to 1.

The forms are those of Real-ESRGAN (Wang et al., ICCVW 2021, section 3.2): with r the offset from the centre, S the
covariance and q = r' S^-1 r, a Gaussian is exp(-q / 2), a generalised one exp(-q^shape / 2), a plateau
1 / (1 + q^shape).
"""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
from scipy.special import j1


def gaussian(size: int, sigma: tuple[float, float], angle: float = 0.0, shape: float = 1.0) -> np.ndarray:
    """exp(-q^shape / 2). ``sigma`` are the standard deviations in pixels along the axes, which are turned by ``angle``
    (radians, from columns towards rows); ``shape`` 1 is the Gaussian, below 1 has longer tails, above 1 is flatter.
    """
    return _normalised(np.exp(-0.5 * _distance(size, sigma, angle) ** shape))


def plateau(size: int, sigma: tuple[float, float], angle: float = 0.0, shape: float = 1.0) -> np.ndarray:
    """1 / (1 + q^shape), with the arguments of ``gaussian``."""
    return _normalised(1 / (1 + _distance(size, sigma, angle) ** shape))


def sinc(size: int, cutoff: float) -> np.ndarray:
    """The ideal low-pass filter, which leaves rings along edges: c J1(c r) / (2 pi r) for ``cutoff`` c.

    ``cutoff`` is in radians per pixel, above 0 and at most pi.
    """
    rows, columns = _offsets(size)
    radius = np.hypot(rows, columns)
    centre = radius == 0
    radius[centre] = 1.0
    values = cutoff * j1(cutoff * radius) / (2 * pi * radius)
    values[centre] = cutoff**2 / (4 * pi)  # the limit
    return _normalised(values)


def _distance(size: int, sigma: tuple[float, float], angle: float) -> np.ndarray:
    """q: the squared distance from the centre in units of sigma."""
    rows, columns = _offsets(size)
    along = cos(angle) * columns + sin(angle) * rows
    across = -sin(angle) * columns + cos(angle) * rows
    return (along / sigma[0]) ** 2 + (across / sigma[1]) ** 2


def _offsets(size: int) -> tuple[np.ndarray, np.ndarray]:
    middle = (size - 1) / 2
    rows, columns = np.mgrid[:size, :size] - middle
    return rows, columns


def _normalised(values: np.ndarray) -> np.ndarray:
    return values / values.sum()
