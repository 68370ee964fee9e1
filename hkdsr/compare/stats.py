"""What the leaderboard says of scores: their spread over seeds, the gap closed, and which differences are real."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
LEVEL = 0.95
SEED = 0


@dataclass(frozen=True)
class Difference:
    """A mean difference in dB and the interval in which it lies as other pictures are drawn."""

    mean: float
    low: float
    high: float

    @property
    def real(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def mean_and_std(by_seed: np.ndarray) -> tuple[float, float | None]:
    """Of a set's scores (seeds, pictures): mean over both, and the standard deviation of the seeds' means.

    The deviation is that of a sample (divided by seeds - 1); a single seed has none.
    """
    means = by_seed.mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1)) if len(means) > 1 else None


def gap_closed(score: float, plain: float, teacher: float) -> float | None:
    """The share of the way from plain training to the teacher, or None where the teacher is no better than that."""
    return (score - plain) / (teacher - plain) if teacher > plain else None


def paired_bootstrap(first: np.ndarray, second: np.ndarray) -> Difference:
    """The mean of ``first - second`` and its 95 % interval by the percentile bootstrap over pictures.

    Both are scores (seeds, pictures) of the same pictures in the same order, seeds not necessarily as many. They are
    averaged over seeds; then pictures are drawn with replacement, 10,000 times, by a generator with a fixed seed. Small
    sets give rough intervals, and how much a further seed would differ is not in them.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    by_picture = first.mean(axis=0) - second.mean(axis=0)
    drawn = np.random.default_rng(SEED).integers(len(by_picture), size=(DRAWS, len(by_picture)))
    means = by_picture[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(by_picture.mean()), float(low), float(high))
