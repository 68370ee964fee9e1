"""A study's table: ``leaderboard.md`` to read, ``leaderboard.json`` with every number, ``leaderboard.svg`` to see."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hkdsr.files import write_atomically
from hkdsr.settings.resume import settings_by_kind
from hkdsr.studies.board.board import Board, board
from hkdsr.studies.board.chart import image
from hkdsr.studies.board.markdown import markdown
from hkdsr.studies.published import Table, find
from hkdsr.studies.study import Row, Study

NAME = "leaderboard"
LEFT_OUT = ("rows", "method.use")
"""Settings that are shown elsewhere or are places on this machine."""


def write_leaderboard(study: Study, title: str, failures: Mapping[str, str]) -> Path:
    """Write all three from what is finished; returns the path of the Markdown file.

    ``failures`` are reasons by the names of runs. Raises HkdsrError as ``board`` does, for published numbers that are
    not there, and where the files cannot be written.
    """
    found = board(study, failures)
    beside = find(study.published.split()) if study.published else []
    files = {
        ".json": json.dumps(_as_json(study, found, beside), indent=1) + "\n",
        ".svg": image(found, title),
        ".md": markdown(study, title, found, beside, f"{NAME}.svg"),
    }
    for suffix, text in files.items():
        write_atomically(study.out / f"{NAME}{suffix}", text.encode())
    return study.out / f"{NAME}.md"


def _as_json(study: Study, found: Board, beside: Sequence[Table]) -> dict[str, object]:
    return {
        "study": told(study),
        **dataclasses.asdict(found),
        "published": [dataclasses.asdict(table) for table in beside],
    }


def told(study: Study) -> dict[str, object]:
    """The study's settings as they are in the JSON file."""
    return {**_told(study), "rows": list(map(_told, study.rows))}


def _told(settings: Study | Row) -> dict[str, object]:
    lasting = settings_by_kind(settings, "same", "content")
    return {name: json.loads(text) for name, text in lasting.items() if name not in LEFT_OUT}
