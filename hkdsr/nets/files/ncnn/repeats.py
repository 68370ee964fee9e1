"""The blocks of a network whose layers stand in one list: the same layers, over and over."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

LEAST = 2
"""Blocks that make a row."""
LONGEST = 512
"""Layers of a block."""


class Row(NamedTuple):
    """``blocks`` blocks of ``length`` layers each, from the layer ``start`` on."""

    start: int
    length: int
    blocks: int


def find_row(kinds: Sequence[Hashable], weights: Sequence[int]) -> Row | None:
    """The row of blocks with the most ``weights``, of those the one whose first layer has most, then of the shortest.

    ``kinds`` says what each layer is: layers of equal kinds compute alike. None if nothing with weights is repeated.
    """
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    layers = np.array([numbers[kind] for kind in kinds])
    before = [0, *accumulate(weights)]
    best: tuple[tuple[int, ...], Row] | None = None
    for length in range(1, min(len(kinds) // LEAST, LONGEST) + 1):
        for first, stop in _stretches(layers[length:] == layers[:-length]):
            count, rest = divmod(stop - first + length, length)
            for start in range(first, first + rest + 1) if count >= LEAST else ():
                held = before[start + count * length] - before[start]
                merit = (held, weights[start], -length, -start)
                if held and (best is None or merit > best[0]):
                    best = merit, Row(start, length, count)
    return best[1] if best else None


def _stretches(same: np.ndarray) -> list[tuple[int, int]]:
    """Where a row of bools is True: starts and ends."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False]))))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]
