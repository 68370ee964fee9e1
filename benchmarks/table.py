"""Measured rows as a Markdown table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.rounds import Row

HEAD = (
    "| what | against | ours | theirs | ratio | of CPU s | goal | met |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
)


def line(row: Row) -> str:
    """The row of the Markdown table."""
    if row.ratio is None:
        numbers = ["", "", f"not measured: {row.why}", ""]
    else:
        numbers = [_time(row.ours), _time(row.theirs), _number(row.ratio), _number(row.cpu_ratio)]
    goal = _number(row.goal) or (_time(row.goal_seconds) if row.goal_seconds else "")
    met = "" if row.met is None else "yes" if row.met else "**no**"
    return "| " + " | ".join([row.what, row.against, *numbers, goal, met]) + " |"


def write(folder: Path, name: str, text: str, found: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Write ``name.md``, which begins with ``text``, and ``name.json`` into ``folder``.

    What stands in ``name.md`` after the table, from a heading on, stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{name}.md"
    _, *remarks = page.read_text(encoding="utf-8").partition("\n## ") if page.exists() else ("",)
    facts = [f"- {key}: {value}" for key, value in found.items()]
    lines = [text, "", *facts, "", *HEAD, *map(line, rows), ""]
    page.write_text("\n".join(lines) + "".join(remarks), encoding="utf-8")
    content = {"machine": dict(found), "rows": [asdict(row) for row in rows]}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(folder: Path, name: str) -> list[Row]:
    """The rows that ``write`` has written."""
    return [Row(**row) for row in json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["rows"]]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
