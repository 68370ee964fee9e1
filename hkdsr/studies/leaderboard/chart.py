"""The leaderboard as an SVG chart: for each set one panel with the mean, the spread and the seeds of every student."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hkdsr.report.chart import Axis, linear_axis
from hkdsr.studies.leaderboard.content import Entry, Leaderboard, Scores
from hkdsr.studies.study import TEACHER

LETTER, PANEL, GAP = 7, 200, 40
TOP, ROW, BOTTOM, MARGIN = 88, 32, 64, 20
# The seeds are drawn this much below their mean, which would hide them.
SEED_OFFSET = 9
# A teacher further away than this many times the students' range would compress them: it is then written as text.
TEACHER_REACH = 1.5
MOST_TICKS = 4
LEGEND = "PSNR-Y in dB: mean over seeds, one standard deviation each way; below it each seed"
THEME = """\
svg { --page: #faf9f6; --ink: #1c1d21; --soft: #5d616b; --line: #dedcd5; --dot: #1f5fbf; --teacher: #c8501e; }
@media (prefers-color-scheme: dark) {
  svg { --page: #15171b; --ink: #e9e8e4; --soft: #a0a4ad; --line: #353941; --dot: #7fb2ff; --teacher: #ff9d6c; }
}
text { font: 12px system-ui, "Segoe UI", "Helvetica Neue", "Noto Sans", Arial, sans-serif; fill: var(--ink); }
.title { font-size: 17px; font-weight: 650; }
.set { font-size: 13px; font-weight: 650; }
.soft { fill: var(--soft); font-size: 11px; }
.page { fill: var(--page); }
.grid { stroke: var(--line); }
"""
STYLE = """\
.plain { stroke: var(--soft); stroke-dasharray: 4 3; }
.teacher { stroke: var(--teacher); stroke-width: 1.5; }
text.teacher { stroke: none; fill: var(--teacher); font-size: 11px; }
.spread { stroke: var(--dot); stroke-width: 2; }
.mean { fill: var(--dot); }
.seed { fill: var(--dot); opacity: 0.55; }
"""


def chart(board: Leaderboard, title: str) -> str:
    """An SVG that needs no other file: dots are means, bars one standard deviation each way, small dots the seeds."""
    students = [entry for entry in board.entries if entry.training]
    teacher = next((entry for entry in board.entries if entry.label == TEACHER), None)
    sets = list(board.images)
    first = MARGIN + GAP + LETTER * max((len(entry.label) for entry in students), default=0)
    width = first + len(sets) * (PANEL + GAP)
    height = TOP + ROW * max(len(students), 1) + BOTTOM
    parts = [
        f"<style>{THEME}{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        text_at(MARGIN, 28, title, "title"),
        text_at(
            MARGIN, 47, "PSNR-Y in dB: mean over seeds, one standard deviation each way; below it each seed", "soft"
        ),
    ]
    for index, entry in enumerate(students):
        parts.append(text_at(MARGIN, _middle(index) + 4, entry.label, "row"))
    for place, name in enumerate(sets):
        parts += _panel(name, first + place * (PANEL + GAP), students, teacher.sets[name] if teacher else None)
    parts.append(text_at(MARGIN, height - 12, "dashed line: plain training; solid line: the teacher", "soft"))
    return document(width, height, f"{title}: PSNR-Y of every row on {', '.join(sets)}", parts)


def document(width: int, height: int, label: str, parts: Sequence[str]) -> str:
    """An SVG of ``parts``; ``label`` says what it shows to those who cannot see it."""
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    )
    return "\n".join([f'{opening} role="img" aria-label="{escape(label, quote=True)}">', *parts, "</svg>\n"])


def _panel(name: str, left: int, students: Sequence[Entry], teacher: Scores | None) -> list[str]:
    rows = [entry.sets[name] for entry in students]
    bottom = TOP + ROW * max(len(rows), 1)
    parts = [text_at(left, TOP - 12, name, "set")]
    axis = _axis(rows, teacher)

    def x_of(value: float) -> float:
        return left + axis(value) * PANEL

    for tick in axis.ticks[:: -(-len(axis.ticks) // MOST_TICKS)]:
        parts.append(_vertical_line(x_of(tick), "grid", bottom))
        parts.append(text_at(x_of(tick), bottom + 17, f"{tick:.10g}", "soft", "middle"))
    for entry, scores in zip(students, rows, strict=True):
        if entry.training and entry.training.is_plain:
            parts.append(_vertical_line(x_of(scores.psnr_y), "plain", bottom))
    if teacher:
        parts += _teacher(teacher.psnr_y, axis, left, bottom)
    for index, scores in enumerate(rows):
        y = _middle(index)
        spread = scores.deviation or 0.0
        low, high = x_of(scores.psnr_y - spread), x_of(scores.psnr_y + spread)
        parts.append(f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
        parts += [
            f'<circle class="seed" cx="{x_of(seed):.1f}" cy="{y + SEED_OFFSET}" r="2.2"/>' for seed in scores.by_seed
        ]
        parts.append(f'<circle class="mean" cx="{x_of(scores.psnr_y):.1f}" cy="{y}" r="4.5"/>')
    return parts


def _axis(rows: Sequence[Scores], teacher: Scores | None) -> Axis:
    values = [value for scores in rows for value in _extent(scores)]
    if not values:
        values = [teacher.psnr_y] if teacher else [0.0]
    low, high = min(values), max(values)
    if teacher and low - TEACHER_REACH * (high - low) <= teacher.psnr_y <= high + TEACHER_REACH * (high - low):
        low, high = min(low, teacher.psnr_y), max(high, teacher.psnr_y)
    return linear_axis(low, high, widen=True)


def _extent(scores: Scores) -> tuple[float, ...]:
    spread = scores.deviation or 0.0
    return (scores.psnr_y - spread, scores.psnr_y + spread, *scores.by_seed)


def _teacher(value: float, axis: Axis, left: int, bottom: int) -> list[str]:
    if axis.low <= value <= axis.high:
        return [_vertical_line(left + axis(value) * PANEL, "teacher", bottom)]
    arrow = "\N{RIGHTWARDS ARROW}" if value > axis.high else "\N{LEFTWARDS ARROW}"
    return [text_at(left + PANEL, TOP - 12, f"teacher {value:.2f} {arrow}", "teacher", "end")]


def _middle(index: int) -> int:
    return TOP + ROW * index + ROW // 2


def _vertical_line(x: float, kind: str, bottom: int) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'


def text_at(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    """A line of text of the class ``kind``; ``y`` is its base line."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
