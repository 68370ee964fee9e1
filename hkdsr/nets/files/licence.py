"""The licence of a network's weights, as far as its files tell."""

from __future__ import annotations

import json
from pathlib import Path

from hkdsr.nets.files.load import metadata
from hkdsr.paths import is_file

KEY = "licence"
"""In the metadata of our safetensors files."""


def licence_of(weights: str | Path) -> str:
    """An SPDX expression such as ``CC-BY-NC-4.0``; empty if nothing tells the licence.

    It is in the metadata of ``weights``, or in a card beside them, ``NAME.json`` in the format of OpenModelDB.
    Raises HkdsrError if there is no such file.
    """
    if told := metadata(weights).get(KEY):
        return told
    card = Path(weights).with_suffix(".json")
    try:
        licence = json.loads(card.read_text(encoding="utf-8")).get("license") if is_file(card) else None
    except (OSError, ValueError, AttributeError):
        return ""  # a file of another program, which has no licence for us
    return licence if isinstance(licence, str) else ""


def is_non_commercial(licence: str) -> bool:
    """Whether the licence forbids commercial use, by the NC of Creative Commons and others."""
    return "NC" in licence.upper().replace("_", "-").split("-") or "NONCOMMERCIAL" in licence.upper().replace("-", "")
