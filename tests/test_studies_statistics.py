"""The statistics of a leaderboard: against values computed by hand, and properties that hold for any scores."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkdsr.studies.leaderboard.statistics import gap_closed, mean_and_std, paired_bootstrap


def seeds(*scores: object, first: int = 1) -> dict[str, np.ndarray]:
    """Scores image by image under the seeds ``first``, ``first + 1`` and so on."""
    return {str(first + index): np.asarray(row) for index, row in enumerate(scores)}


scores = st.lists(st.floats(20, 45), min_size=2, max_size=7)


def test_mean_and_deviation_by_hand() -> None:
    mean, deviation = mean_and_std(seeds([30.0, 32.0], [31.0, 33.0], [32.0, 37.0]))
    assert mean == pytest.approx(32.5)
    # The seeds' means are 31, 32 and 34.5.
    assert deviation == pytest.approx(np.sqrt(((31 - 32.5) ** 2 + (32 - 32.5) ** 2 + (34.5 - 32.5) ** 2) / 2))
    assert mean_and_std(seeds([30.0, 32.0])) == (31.0, None)


def test_gap() -> None:
    assert gap_closed(32.5, 32.0, 34.0) == pytest.approx(0.25)
    assert gap_closed(31.5, 32.0, 34.0) == pytest.approx(-0.25)
    assert gap_closed(31.5, 32.0, 32.0) is None
    assert gap_closed(31.5, 32.0, 31.0) is None


def test_bootstrap_approximates_all_possible_draws() -> None:
    first, second = np.array([[31.0, 33.0, 30.5, 36.0]]), np.array([[30.9, 32.5, 30.7, 35.0]])
    by_image = (first - second)[0]
    every = [np.mean(draw) for draw in product(by_image, repeat=4)]
    found = paired_bootstrap(seeds(*first), seeds(*second))
    assert found.mean == pytest.approx(0.35)
    low, high = np.quantile(every, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_pairing_removes_what_images_share() -> None:
    images = np.random.default_rng(0).normal(32, 4, 20)
    plain = seeds(images)
    better = seeds(images + 0.02 + 0.001 * np.arange(20) / 20)
    assert paired_bootstrap(better, plain).significant
    assert not paired_bootstrap(better, seeds(images[::-1])).significant


def test_the_spread_over_seeds_widens_the_interval() -> None:
    alike = np.array([[30.0, 31.0, 32.0, 33.0]] * 3)
    shifts = np.array([[0.1], [0.2], [0.3]])
    found = paired_bootstrap(seeds(*(alike + shifts)), seeds(*alike))
    assert found.mean == pytest.approx(0.2)
    # All images are shifted alike, so what is left is the t interval of 0.1, 0.2 and 0.3.
    half = 4.303 * 0.1 / np.sqrt(3)
    assert [found.low, found.high] == pytest.approx([0.2 - half, 0.2 + half], abs=0.02)
    assert not found.significant


def test_seeds_that_differ_alike_are_paired() -> None:
    unlike = np.array([[30.0, 31.0], [31.0, 32.0], [32.0, 33.0]])
    found = paired_bootstrap(seeds(*(unlike + 0.01)), seeds(*unlike))
    assert [found.mean, found.low, found.high] == pytest.approx([0.01] * 3)
    # A reference has no seed of theirs.
    one = paired_bootstrap(seeds(*unlike), {"": unlike[1]})
    half = 4.303 / np.sqrt(3)
    assert [one.mean, one.low, one.high] == pytest.approx([0, -half, half], abs=0.2)


def test_only_seeds_that_both_have_are_compared() -> None:
    unlike = np.array([[30.0, 31.0], [31.0, 32.0], [35.0, 36.0]])
    found = paired_bootstrap(seeds(*(unlike + 0.05)), seeds(*unlike[1:], first=2))
    assert [found.mean, found.low, found.high] == pytest.approx([0.05] * 3)


def test_one_shared_seed_is_not_enough_for_pairs() -> None:
    unlike = np.array([[30.0, 31.0], [31.0, 32.0], [35.0, 36.0]])
    found = paired_bootstrap(seeds(*(unlike[:2] + 0.05)), seeds(*unlike[1:], first=2))
    assert found.mean == pytest.approx(30.5 + 0.05 - 33)
    assert not found.significant
    assert paired_bootstrap(seeds(unlike[0] + 0.05), seeds(unlike[0])).significant


def test_equal_methods_rarely_differ_significantly() -> None:
    random = np.random.default_rng(5)
    images = random.normal(30, 3, 100)

    def trained() -> dict[str, np.ndarray]:
        return seeds(*(images + random.normal(0, 0.02, (3, 1)) + random.normal(0, 0.03, (3, 100))))

    found = sum(paired_bootstrap(trained(), trained()).significant for _ in range(60))
    assert found <= 6  # 5 % of 60 are expected; without the spread over seeds most would be significant


@settings(max_examples=20)
@given(scores, st.floats(-2, 2))
def test_a_shift_of_all_images_is_found_exactly(values: list[float], shift: float) -> None:
    base = np.array([values])
    found = paired_bootstrap(seeds(*(base + shift)), seeds(*base))
    assert [found.mean, found.low, found.high] == pytest.approx([shift] * 3, abs=1e-9)
    if abs(shift) > 1e-6:
        assert found.significant


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(20, 45), st.floats(20, 45)), min_size=2, max_size=7))
def test_swapping_the_two_swaps_the_interval(pairs: list[tuple[float, float]]) -> None:
    first, second = (seeds(column) for column in zip(*pairs, strict=True))
    there, back = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert [there.mean, there.low, there.high] == pytest.approx([-back.mean, -back.high, -back.low], abs=1e-9)
    assert there.low - 1e-9 <= there.mean <= there.high + 1e-9
    assert there == paired_bootstrap(first, second)
