"""Curves as inline SVG: linear or logarithmic values over steps or over time, with round ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isclose, isfinite, log10

import numpy as np

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 28, 46
# Longer curves are averaged: more points cannot be seen at this width.
MOST_POINTS = 300
# From this ratio of the largest to the smallest value on, the axis is logarithmic.
WIDE = 20
# Smaller differences come from rounding.
TINY = 1e-12

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """Maps values from ``low``..``high`` to 0..1, by their logarithms if ``log``."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (log10(x) if self.log else x for x in (self.low, self.high, value))
        return (value - low) / (high - low)


def line_chart(lines: Sequence[tuple[int, Sequence[Point]]], x_name: str, y_name: str) -> str:
    """An SVG of ``lines``, each with the number of its colour (from 0) and its points (x, y).

    Points that are not finite are left out. Without points the result is empty.
    """
    finite = [(colour, [point for point in points if all(map(isfinite, point))]) for colour, points in lines]
    drawn = [(colour, _thinned(points)) for colour, points in finite if points]
    if not drawn:
        return ""
    xs = [x for _, points in finite for x, _ in points]
    x_axis = linear_axis(min(0, *xs), max(xs), widen=False)
    y_axis = value_axis([y for _, points in drawn for _, y in points])
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(x: float, y: float) -> tuple[str, str]:
        return f"{LEFT + x_axis(x) * (right - LEFT):.1f}", f"{bottom - y_axis(y) * (bottom - TOP):.1f}"

    parts = [f'<text class="name" x="{LEFT}" y="14">{escape(y_name)}</text>']
    for tick in y_axis.ticks:
        _, y = place(x_axis.low, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y}" dy="4" text-anchor="end">{tick:,.10g}</text>')
    for tick in x_axis.ticks:
        x, _ = place(tick, y_axis.low)
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 5}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 19}" text-anchor="middle">{tick:,.10g}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text class="name" x="{right}" y="{HEIGHT - 7}" text-anchor="end">{escape(x_name)}</text>')
    for colour, points in drawn:
        places = [place(x, y) for x, y in points]
        parts.append(f'<polyline class="curve c{colour}" points="{" ".join(map(",".join, places))}"/>')
        parts.append('<circle class="c{}" cx="{}" cy="{}" r="3"/>'.format(colour, *places[-1]))
    label = escape(f"{y_name} over {x_name}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def linear_axis(low: float, high: float, widen: bool) -> Axis:
    """An axis with about five round ticks; ``widen`` extends it to the nearest ticks."""
    if isclose(low, high, abs_tol=TINY):
        margin = 0.5 * abs(low) if abs(low) > TINY else 0.5
        low, high = low - margin, high + margin
    rough = (high - low) / 5
    power = 10.0 ** floor(log10(rough))
    step = next(power * digit for digit in (1, 2, 2.5, 5, 10) if power * digit >= 0.999 * rough)
    first, last = (floor(low / step), ceil(high / step)) if widen else (ceil(low / step), floor(high / step))
    ticks = tuple(index * step for index in range(first, last + 1))
    return Axis(ticks[0] if widen else low, ticks[-1] if widen else high, ticks)


def value_axis(values: Sequence[float]) -> Axis:
    """An axis for ``values``: logarithmic where they are positive and their ratio is large."""
    low, high = min(values), max(values)
    if not 0 < WIDE * low < high:
        return linear_axis(low, high, widen=True)
    # One decade more on each side, as log10 rounds.
    powers = range(floor(log10(low)) - 1, ceil(log10(high)) + 2)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    low, high = max(tick for tick in ticks if tick <= low), min(tick for tick in ticks if tick >= high)
    shown = [tick for tick in ticks if low <= tick <= high]
    # Over many decades there is only room for powers of ten.
    return Axis(low, high, tuple(shown if len(shown) < 8 else [t for t in ticks[::3] if low <= t <= high]), log=True)


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    if len(points) <= MOST_POINTS:
        return points
    return [(float(x), float(y)) for x, y in (part.mean(axis=0) for part in np.array_split(points, MOST_POINTS))]
