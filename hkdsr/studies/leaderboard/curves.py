"""The leaderboards of a study with budgets as an SVG chart: for each set one panel with PSNR-Y over seconds.

It shows the break-even: where the line of a method crosses that of the plain row, the method begins or ceases to pay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from hkdsr.report.chart import Axis, linear_axis
from hkdsr.scoring import BICUBIC
from hkdsr.studies.leaderboard.chart import THEME, document, text_at
from hkdsr.studies.leaderboard.content import BudgetBoards, Entry, Scores
from hkdsr.studies.study import Study

COLUMNS = 2
PANEL_WIDTH, PANEL_HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM, HEAD = 58, 22, 34, 46, 62
KEY_LINE, KEY_WIDTH = 22, 280
# Bars at the same budget stand beside each other, over this share of the panel's width.
SPREAD = 0.05
# Rows that have hardly begun would else press all others together: below bicubic enlargement, in dB, the panel ends.
BELOW_BICUBIC = 1.0
# Beyond the shortest and the longest budget, by this factor.
MARGIN = 1.35
COLOURS = (
    ("#1f5fbf", "#7fb2ff"),
    ("#c8501e", "#ff9d6c"),
    ("#2a7f3f", "#74cf8b"),
    ("#8a3fa8", "#d495ee"),
    ("#a8760a", "#e6bd5a"),
    ("#0f7f86", "#5fd0d8"),
    ("#b3265e", "#ff86b3"),
    ("#5a5fae", "#a9aef5"),
    ("#6b6a17", "#c4c35a"),
    ("#7a4a2b", "#d3a07c"),
)
"""Of the rows but the plain one, on a light and on a dark page; further rows repeat them with dashes."""
LEGEND = (
    "PSNR-Y in dB over seconds, all preparation included; means over seeds. Thickest line: plain training.",
    "Bars: 95 % interval of the difference to it; where one does not reach that line, it is significant. "
    "Panels end 1 dB below bicubic enlargement.",
)
STYLE = """\
.frame { stroke: var(--soft); }
.curve { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.bar { stroke-width: 3; opacity: 0.28; }
.untaught { stroke-width: 2.6; }
.plain { stroke: var(--ink); stroke-width: 3.2; }
circle.plain { fill: var(--ink); stroke: none; }
circle { stroke: none; }
.again { stroke-dasharray: 5 3; }
"""


def curves(study: Study, boards: BudgetBoards, title: str) -> str:
    """An SVG that needs no other file: a line for each row that has a result, through its means at the budgets."""
    lines = _lines(study, boards)
    sets = list(boards.budgets[0].board.images)
    columns = min(COLUMNS, len(sets))
    width = columns * (LEFT + PANEL_WIDTH + RIGHT)
    keys = max(width // KEY_WIDTH, 1)
    key_top = HEAD + ceil(len(sets) / columns) * (TOP + PANEL_HEIGHT + BOTTOM)
    height = key_top + KEY_LINE * ceil(len(lines) / keys) + 16
    parts = [
        f"<style>{THEME}{STYLE}{_colours()}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        text_at(18, 28, title, "title"),
        *(text_at(18, 47 + 14 * place, words, "soft") for place, words in enumerate(LEGEND)),
    ]
    for index, name in enumerate(sets):
        left = (index % columns) * (LEFT + PANEL_WIDTH + RIGHT) + LEFT
        top = HEAD + index // columns * (TOP + PANEL_HEIGHT + BOTTOM) + TOP
        parts += _panel(name, left, top, lines, boards)
    for index, line in enumerate(lines):
        x, y = 18 + index % keys * KEY_WIDTH, key_top + KEY_LINE * (index // keys)
        parts.append(f'<line class="curve {line.kind}" x1="{x}" x2="{x + 26}" y1="{y}" y2="{y}"/>')
        parts.append(text_at(x + 34, y + 4, line.label, "key"))
    return document(width, height, f"{title}: PSNR-Y of every row over seconds on {', '.join(sets)}", parts)


@dataclass(frozen=True)
class _Line:
    """A row; ``kind`` is the class that it is drawn in."""

    label: str
    plain: bool
    kind: str


def _lines(study: Study, boards: BudgetBoards) -> list[_Line]:
    """The rows that have a result. Rows that are trained without the teacher, from any start, are thicker."""
    lines: list[_Line] = []
    for row in study.rows:
        if any(_entry(boards, row.label, at) for at in range(len(boards.budgets))):
            place = sum(not line.plain for line in lines)
            kinds = [f"c{place % len(COLOURS)}", "untaught" * (not row.method.uses_teacher)]
            kinds.append("again" * (place >= len(COLOURS)))
            lines.append(_Line(row.label, row.is_plain, "plain" if row.is_plain else " ".join(filter(None, kinds))))
    return lines


def _panel(name: str, left: int, top: int, lines: Sequence[_Line], boards: BudgetBoards) -> Iterator[str]:
    bottom, right = top + PANEL_HEIGHT, left + PANEL_WIDTH
    seconds = [found.seconds for found in boards.budgets]
    x_axis = Axis(min(seconds) / MARGIN, max(seconds) * MARGIN, tuple(seconds), log=True)
    points = {line.label: _points(name, line, boards) for line in lines}
    values = [value for found in points.values() for _, scores, bar in found for value in (scores.psnr_y, *bar)]
    values = [max(value, _floor(name, boards)) for value in values]
    y_axis = linear_axis(min(values, default=0.0), max(values, default=0.0), widen=True)

    def x_of(value: float) -> float:
        return left + x_axis(value) * PANEL_WIDTH

    def y_of(value: float) -> float:
        return bottom - y_axis(value) * PANEL_HEIGHT

    yield text_at(left, top - 12, name, "set")
    for tick in y_axis.ticks:
        yield f'<line class="grid" x1="{left}" x2="{right}" y1="{y_of(tick):.1f}" y2="{y_of(tick):.1f}"/>'
        yield text_at(left - 8, round(y_of(tick)) + 4, f"{tick:.10g}", "soft", "end")
    yield f'<line class="frame" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
    for found in boards.budgets:
        x = x_of(found.seconds)
        yield f'<line class="frame" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
        yield text_at(round(x), bottom + 19, found.budget, "soft", "middle")
    clip = f"panel-{left}-{top}"
    yield f'<clipPath id="{clip}"><rect x="{left}" y="{top}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}"/></clipPath>'
    yield f'<g clip-path="url(#{clip})">'
    # The plain row last: no other line hides it.
    for place, line in sorted(enumerate(lines), key=lambda pair: pair[1].plain):
        aside = SPREAD * PANEL_WIDTH * (place / max(len(lines) - 1, 1) - 0.5)
        for budget, _, bar in points[line.label]:
            if bar:
                x, low, high = x_of(budget) + aside, *map(y_of, bar)
                yield f'<line class="bar {line.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        places = [(f"{x_of(budget):.1f}", f"{y_of(scores.psnr_y):.1f}") for budget, scores, _ in points[line.label]]
        yield f'<polyline class="curve {line.kind}" points="{" ".join(map(",".join, places))}"/>'
        for x, y in places:
            yield f'<circle class="{line.kind}" cx="{x}" cy="{y}" r="{4 if line.plain else 3}"/>'
    yield "</g>"


def _floor(name: str, boards: BudgetBoards) -> float:
    """The least PSNR-Y that the panel of a set shows; without bound if bicubic enlargement is not scored."""
    found = [e.sets[name].psnr_y for at in boards.budgets for e in at.board.entries if e.label == BICUBIC]
    return min(found) - BELOW_BICUBIC if found else float("-inf")


def _points(name: str, line: _Line, boards: BudgetBoards) -> list[tuple[float, Scores, tuple[float, ...]]]:
    """Seconds, scores, and the interval of the difference to the plain row, added to that row's mean (or none)."""
    points = []
    for at, found in enumerate(boards.budgets):
        if entry := _entry(boards, line.label, at):
            scores = entry.sets[name]
            difference = scores.to_plain
            plain = scores.psnr_y - difference.mean if difference else 0.0
            bar = (plain + difference.low, plain + difference.high) if difference else ()
            points.append((found.seconds, scores, bar))
    return points


def _entry(boards: BudgetBoards, label: str, at: int) -> Entry | None:
    return next((e for e in boards.budgets[at].board.entries if e.training and e.label == label), None)


def _colours() -> str:
    def rules(dark: bool) -> str:
        return "".join(
            f".c{index} {{ stroke: {pair[dark]}; }}\ncircle.c{index} {{ fill: {pair[dark]}; }}\n"
            for index, pair in enumerate(COLOURS)
        )

    return f"{rules(False)}@media (prefers-color-scheme: dark) {{\n{rules(True)}}}\n"
