"""What the leaderboard says of scores: their spread over seeds, the gap closed, and which differences are real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
LEVEL = 0.95
SEED = 0

BySeed = Mapping[str, np.ndarray]
"""A row's scores image by image, (images,), under the seeds that they came from."""


@dataclass(frozen=True)
class Difference:
    """A mean difference in dB and the interval in which it lies with other images and seeds."""

    mean: float
    low: float
    high: float

    @property
    def real(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def mean_and_std(by_seed: BySeed) -> tuple[float, float | None]:
    """Of a set's scores: mean over both, and the standard deviation of the seeds' means.

    The deviation is that of a sample (divided by seeds - 1); a single seed has none.
    """
    means = _table(by_seed).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1)) if len(means) > 1 else None


def gap_closed(score: float, plain: float, teacher: float) -> float | None:
    """The share of the way from plain training to the teacher, or None where the teacher is no better than that."""
    return (score - plain) / (teacher - plain) if teacher > plain else None


def paired_bootstrap(first: BySeed, second: BySeed) -> Difference:
    """The mean of ``first - second`` and the 95 % interval in which it lies with other images and other seeds.

    Both are scores of the same images in the same order. Seeds that both have are compared in pairs and others left
    out; all are taken, unpaired, where fewer than two are shared and there are more, as with a reference. Averaged
    over seeds, images are drawn with replacement, 10,000 times, by a generator with a fixed seed: the percentile
    bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). A handful of seeds is too
    few for that, so to each mean is added a draw of Student's t times the standard error of the difference over seeds.
    A single seed tells nothing of others, and its interval is that of the images alone.
    """
    shared = [seed for seed in first if seed in second]
    samples = [_table(first), _table(second)]
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


def _table(by_seed: BySeed) -> np.ndarray:
    return np.stack(list(by_seed.values()))


def _seed_error(means: Sequence[np.ndarray]) -> tuple[float, int]:
    """Standard error of the sum of means over independent seeds, and its degrees of freedom: 0 for one seed each."""
    samples = [sample for sample in means if len(sample) > 1]
    error = float(np.sqrt(sum(sample.var(ddof=1) / len(sample) for sample in samples)))
    return error, min((len(sample) - 1 for sample in samples), default=0)
