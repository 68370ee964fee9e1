"""What the leaderboard says of scores: their spread over seeds, the gap closed, and which differences are real."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
LEVEL = 0.95
SEED = 0


@dataclass(frozen=True)
class Difference:
    """A mean difference in dB and the interval in which it lies with other pictures and seeds."""

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
    """The mean of ``first - second`` and the 95 % interval in which it lies with other pictures and other seeds.

    Both are scores (seeds, pictures) of the same pictures in the same order. Averaged over seeds, pictures are drawn
    with replacement, 10,000 times, by a generator with a fixed seed: the percentile bootstrap (Efron and Tibshirani,
    "An Introduction to the Bootstrap", 1993, chapter 13). A handful of seeds is too few for that, so to each mean is
    added a draw of Student's t times the standard error of the difference over seeds; as many seeds of both are taken
    for pairs. A single seed tells nothing of others, and its interval is that of the pictures alone.
    """
    by_picture = first.mean(axis=0) - second.mean(axis=0)
    random = np.random.default_rng(SEED)
    drawn = random.integers(len(by_picture), size=(DRAWS, len(by_picture)))
    means = by_picture[drawn].mean(axis=1)
    error, freedom = _seed_error(first.mean(axis=1), second.mean(axis=1))
    if freedom:
        means += error * random.standard_t(freedom, DRAWS)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(by_picture.mean()), float(low), float(high))


def _seed_error(first: np.ndarray, second: np.ndarray) -> tuple[float, int]:
    """Standard error of the difference of two means over seeds, and its degrees of freedom: 0 for one seed each."""
    samples = [first - second] if len(first) == len(second) else [first, second]
    samples = [sample for sample in samples if len(sample) > 1]
    error = float(np.sqrt(sum(sample.var(ddof=1) / len(sample) for sample in samples)))
    return error, min((len(sample) - 1 for sample in samples), default=0)
