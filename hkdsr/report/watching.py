"""Runs as HTML: a table of all, curves, images of validations, differences of recipes. All texts are escaped."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

from hkdsr.report.chart import line_chart
from hkdsr.report.content import Curve
from hkdsr.report.curves import legend_entry
from hkdsr.report.logged import logged_curves
from hkdsr.runs.folder import differences, images, log_lines
from hkdsr.runs.readings import end_of
from hkdsr.runs.run import Run
from hkdsr.training.kept_files import HR, TEACHER

MOST = 200
"""Runs in the table."""
RATE = "Learning rate"
BOARD, LARGEST_BOARD = "leaderboard", 1 << 20
DRAWING = re.compile(r"^!\[.*\]\(.*\)$", re.MULTILINE)
UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def table(runs: Sequence[Run], root: Path) -> str:
    """The runs, the first of them at the top."""
    if not runs:
        where = f"There is no training in {escape(str(root))} yet. "
        return f"<p>{where}Start one in the tab Distil, or by <code>hkdsr distill</code>.</p>"
    names = ("Run", "State", "Step", "PSNR (dB)", "Loss", "Learning rate", "Speed", "Time left")
    head = "".join(f"<th scope='col'>{name}</th>" for name in names)
    rows = "".join(f"<tr>{''.join(_cells(run, names))}</tr>" for run in runs[:MOST])
    more = f"<p>{len(runs) - MOST} more runs are not shown.</p>" if len(runs) > MOST else ""
    return f"<table class='runs'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"


def charts(runs: Sequence[Run]) -> str:
    """Validation score, loss terms and learning rate of one or two runs over their steps."""
    curves = [_curves(run.folder, run.name, run.changed) for run in runs]
    quantities = dict.fromkeys([curve.quantity for one in curves for curve in one if curve.quantity != RATE] + [RATE])
    drawn = "".join(
        line_chart([(place, _points(one, quantity)) for place, one in enumerate(curves)], "steps", quantity)
        for quantity in quantities
    )
    names = "".join(legend_entry(place, run.name) for place, run in enumerate(runs))
    return f"<ul class='legend'>{names}</ul><div class='charts'>{drawn}</div>" if drawn else "<p>No step is logged.</p>"


def pictures(run: Run) -> str:
    """HR, the teacher's images, and the student's of the last validations, the newest first; empty without any."""
    names, steps, files = images(run)
    kinds = {HR: "HR", TEACHER: "teacher"} | {str(step): f"student, step {step:,}" for step in reversed(steps)}
    named = [(place, (names[place:] or [f"image {place + 1}"])[0]) for place in sorted({place for place, _ in files})]
    rows = [
        [_figure(files[place, kind], f"{name}: {what}") for kind, what in kinds.items() if (place, kind) in files]
        for place, name in named
    ]
    return "".join(f"<div class='kept' tabindex='0'>{''.join(row)}</div>" for row in rows if row)


def compared(one: Run, other: Run) -> str:
    """The settings that differ between two recipes."""
    found = differences(one, other)
    if not found:
        return "<p>The recipes are the same.</p>"
    rows = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in found)
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in ("setting", one.name, other.name))
    table = f"<table class='settings'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<div class='wide'>{table}</div>"


def study(folder: Path, runs: Sequence[Run]) -> tuple[str, str]:
    """How far a study is, with its drawing, in HTML; and its leaderboard in Markdown."""
    done = sum(1 for _ in folder.glob("*/result.json"))
    running = [run for run in runs if run.state == "running" and run.folder.parent == folder]
    now = "; ".join(f"{escape(run.folder.name)} is at step {run.step:,} of {run.steps or 0:,}" for run in running)
    progress = f"<p>{done} results are there. {now}</p>" if done or now else ""
    drawing = _embedded(folder / f"{BOARD}.svg", "svg+xml", "the leaderboard as a drawing", "leaders")
    text = DRAWING.sub("", end_of(folder / f"{BOARD}.md", LARGEST_BOARD))
    return progress + drawing, text or "The leaderboard comes with the first results."


def _embedded(path: Path, kind: str, what: str, style: str = "") -> str:
    """An image within the page: files need no address then, and drawings cannot run scripts."""
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return ""  # the training has just deleted it
    return f"<img class='{style}' src='data:image/{kind};base64,{content}' alt='{escape(what, quote=True)}'>"


def duration(seconds: float) -> str:
    """``3 h 5 min``: the two largest units."""
    parts, left = [], round(seconds)
    for unit, name in UNITS:
        count, left = divmod(left, unit)
        if count or parts:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def _cells(run: Run, names: Sequence[str]) -> Iterable[str]:
    share = f"<progress value='{run.step}' max='{run.steps}'></progress>" if run.steps else ""
    student = " ".join(str(part) for part in (run.setting("student"), "by", run.setting("method.name")) if part)
    about = escape(student) if run.setting("method.name") else escape(str(run.setting("student") or ""))
    reason = f"<small class='reason'>{escape(run.error)}</small>" if run.error and run.state != "running" else ""
    button = f"<button data-run='{escape(run.name, quote=True)}'>{escape(run.name)}</button>"
    yield f"<td>{button}<small>{about}</small>{reason}</td>"
    total = f" of {run.steps:,}" if run.steps else ""
    values = (
        f"<span class='state {run.state}'>{run.state}</span>",
        f"{run.step:,}{total}{share}",
        "" if run.score is None else f"{run.score:.2f}",
        _losses(run.losses),
        "" if run.rate is None else f"{run.rate:.3g}",
        "" if not run.speed else f"{run.speed:.3g} steps/s",
        "" if run.left is None else duration(run.left),
    )
    for name, value in zip(names[1:], values, strict=True):
        yield f"<td data-name='{name}'>{value}</td>" if value else "<td></td>"


def _losses(losses: Mapping[str, float]) -> str:
    terms = "".join(f"<small>{escape(name)} {value:.4g}</small>" for name, value in losses.items())
    return f"{sum(losses.values()):.4g}{terms if len(losses) > 1 else ''}" if losses else ""


@lru_cache(16)
def _curves(folder: Path, name: str, changed: float) -> list[Curve]:
    """Read anew once the run has ``changed``, as logs get long."""
    lines = log_lines(folder)
    rates = [(line["step"], line["seconds"], line["lr"]) for line in lines if "lr" in line]
    return [*logged_curves(lines, name), *([Curve(name, rates, RATE)] if rates else [])]


def _points(curves: Sequence[Curve], quantity: str) -> list[tuple[float, float]]:
    return [(step, value) for curve in curves if curve.quantity == quantity for step, _, value in curve.points]


def _figure(path: Path, what: str) -> str:
    return f"<figure>{_embedded(path, 'png', what)}<figcaption>{escape(what)}</figcaption></figure>"
