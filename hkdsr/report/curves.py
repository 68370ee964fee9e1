"""The charts of training: every quantity over steps and over time."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hkdsr.report.chart import line_chart
from hkdsr.report.content import Curve

# Colours of the style sheet; further runs use them again.
COLOURS = 6
UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))


def training(curves: Sequence[Curve]) -> str:
    """HTML of two charts and their legend for each quantity; a run has one colour in all of them."""
    names = dict.fromkeys(curve.name for curve in curves)
    colours = {name: place % COLOURS for place, name in enumerate(names)}
    figures = []
    for quantity in dict.fromkeys(curve.quantity for curve in curves):
        shown = [curve for curve in curves if curve.quantity == quantity and curve.points]
        longest = max((seconds for curve in shown for _, seconds, _ in curve.points), default=0)
        unit, unit_name = next((unit for unit in UNITS if longest >= 2 * unit[0]), UNITS[-1])
        over_steps = [(colours[c.name], [(float(step), value) for step, _, value in c.points]) for c in shown]
        over_time = [(colours[c.name], [(seconds / unit, value) for _, seconds, value in c.points]) for c in shown]
        drawn = line_chart(over_steps, "steps", quantity) + line_chart(over_time, unit_name, quantity)
        if drawn:
            legend = "".join(legend_entry(colours[curve.name], curve.name) for curve in shown)
            figures.append(f'<figure class="charts"><ul class="legend">{legend}</ul>{drawn}</figure>')
    return "".join(figures)


def legend_entry(colour: int, name: str) -> str:
    """The line of a legend for the curve ``name``."""
    line = f'<line class="curve c{colour}" x1="0" x2="28" y1="4" y2="4"/>'
    return f'<li><svg viewBox="0 0 28 8" aria-hidden="true">{line}</svg>{escape(name)}</li>'
