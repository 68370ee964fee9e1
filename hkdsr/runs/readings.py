"""Reading files that another process writes at the same time, or wrote only a part of."""

from __future__ import annotations

import json
import os
from math import isfinite
from pathlib import Path
from typing import Any, TypeGuard

LARGEST = 1 << 26
"""Bytes of a file that are read at most."""


def end_of(path: Path, last: int = LARGEST) -> str:
    """The ``last`` bytes of a file as text; empty for one that cannot be read, as for pipes, which never end."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - last))
            return file.read(last).decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def parsed(text: str) -> Any:
    """The value of a JSON text; None for one that is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def records(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, one a line; other lines are left out."""
    return [line for line in map(parsed, text.split("\n")) if isinstance(line, dict)]


def sound(line: dict[str, Any]) -> dict[str, Any] | None:
    """The line of a training's log with its finite numbers only; None without a step and a time."""
    values: dict[str, Any] = {name: value for name, value in line.items() if name != "losses" and is_number(value)}
    if isinstance(line.get("losses"), dict):
        values["losses"] = {name: value for name, value in line["losses"].items() if is_number(value)}
    return values if {"step", "seconds"} <= values.keys() else None


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:
        return False
