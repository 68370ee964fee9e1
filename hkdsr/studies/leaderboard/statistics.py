"""Statistics of scores: the spread over seeds, the gap closed, and which differences are significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
LEVEL = 0.95
SEED = 0

BySeed = Mapping[str, np.ndarray]
"""The scores of a row, (images,) for each seed, by the seed's name."""


@dataclass(frozen=True)
class Difference:
    """A mean difference in dB and its 95 % interval from ``low`` to ``high``, over images and seeds."""

    mean: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def mean_and_std(by_seed: BySeed) -> tuple[float, float | None]:
    """The mean over images and seeds, and the standard deviation of the seeds' means.

    It is the sample standard deviation (divided by seeds - 1); None for a single seed.
    """
    means = _stacked(by_seed).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1)) if len(means) > 1 else None


def gap_closed(score: float, plain: float, teacher: float) -> float | None:
    """(score - plain) / (teacher - plain), or None where the teacher is no better than plain training."""
    return (score - plain) / (teacher - plain) if teacher > plain else None


def paired_bootstrap(first: BySeed, second: BySeed) -> Difference:
    """The mean of ``first - second`` and its 95 % interval over other images and other seeds.

    Both are scores of the same images in the same order. Seeds that both have are compared in pairs, and the others are
    ignored; where fewer than two seeds are shared, as with a reference, all seeds are used, unpaired. The scores are
    averaged over seeds, and images are drawn with replacement, 10,000 times, by a generator with a fixed seed: the
    percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). The few seeds of
    a study are too few for a bootstrap, so a draw of Student's t times the standard error of the difference over seeds
    is added to each mean. For a single seed that error is unknown, and the interval is over images alone.
    """
    shared = [seed for seed in first if seed in second]
    samples = [_stacked(first), _stacked(second)]
    if len(shared) > 1 or len(first) == len(second) == len(shared):
        samples = [np.stack([first[seed] - second[seed] for seed in shared])]
    by_image = samples[0].mean(axis=0) - sum(sample.mean(axis=0) for sample in samples[1:])
    random = np.random.default_rng(SEED)
    drawn = random.integers(len(by_image), size=(DRAWS, len(by_image)))
    means = by_image[drawn].mean(axis=1)
    error, freedom = _seed_error([sample.mean(axis=1) for sample in samples])
    if freedom:
        means += error * random.standard_t(freedom, DRAWS)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(by_image.mean()), float(low), float(high))


def _stacked(by_seed: BySeed) -> np.ndarray:
    return np.stack(list(by_seed.values()))


def _seed_error(means: Sequence[np.ndarray]) -> tuple[float, int]:
    """Standard error of the sum of independent means, and its degrees of freedom: 0 where each has a single seed."""
    samples = [sample for sample in means if len(sample) > 1]
    error = float(np.sqrt(sum(sample.var(ddof=1) / len(sample) for sample in samples)))
    return error, min((len(sample) - 1 for sample in samples), default=0)
