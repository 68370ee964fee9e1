"""Writing the leaderboard: ``leaderboard.md`` and ``leaderboard.svg`` to read, ``leaderboard.json`` with all data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from hkdsr.files import write_atomically
from hkdsr.settings.resume import settings_by_kind
from hkdsr.studies.leaderboard.chart import chart
from hkdsr.studies.leaderboard.collect import collect
from hkdsr.studies.leaderboard.content import BudgetBoards
from hkdsr.studies.leaderboard.curves import curves
from hkdsr.studies.leaderboard.equal_time import collect_budgets
from hkdsr.studies.leaderboard.equal_time_markdown import equal_time_markdown
from hkdsr.studies.leaderboard.markdown import markdown
from hkdsr.studies.published import find
from hkdsr.studies.study import Row, Study

NAME = "leaderboard"
NOT_IN_JSON = ("rows", "method.use")
"""Rows have a list of their own; ``method.use`` is a path on this machine."""


def write_leaderboard(study: Study, title: str, failures: Mapping[str, str]) -> Path:
    """Write all three files from the results so far; returns the path of the Markdown file.

    ``failures`` are reasons by the names of runs. Raises HkdsrError as ``collect`` does, for published tables that
    do not exist, and where the files cannot be written.
    """
    tables = find(study.published.split()) if study.published else []
    if study.budgets:
        boards = collect_budgets(study, failures)
        content = budgets_content(boards)
        drawn, page = curves(study, boards, title), equal_time_markdown(study, title, boards, tables, f"{NAME}.svg")
    else:
        board = collect(study, failures)
        content = dataclasses.asdict(board)
        drawn, page = chart(board, title), markdown(study, title, board, tables, f"{NAME}.svg")
    content = {
        "study": study_settings(study),
        **content,
        "published": [dataclasses.asdict(table) for table in tables],
    }
    files = {".json": json.dumps(content, indent=1) + "\n", ".svg": drawn, ".md": page}
    for suffix, text in files.items():
        write_atomically(study.out / f"{NAME}{suffix}", text.encode())
    return study.out / f"{NAME}.md"


def study_settings(study: Study) -> dict[str, object]:
    """The study's settings as they are in the JSON file: those that decide the results."""
    settings = _settings(study)
    if study.budgets:
        del settings["training.steps"]  # each run has its own
    return {**settings, "rows": list(map(_settings, study.rows))}


def budgets_content(boards: BudgetBoards) -> dict[str, object]:
    """The leaderboards of all budgets as they are in the JSON file; the settings of a measurement are the study's."""
    content = dataclasses.asdict(boards)
    for row in content["measurement"].values():
        del row["settings"]
    return content


def _settings(settings: Study | Row) -> dict[str, object]:
    lasting = settings_by_kind(settings, "same", "content")
    return {name: json.loads(text) for name, text in lasting.items() if name not in NOT_IN_JSON}
