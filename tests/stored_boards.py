"""Leaderboards read back from their JSON files."""

from __future__ import annotations

from typing import Any

from hkdsr.studies.budgets.measurement import RowMeasurement
from hkdsr.studies.budgets.plan import Plan
from hkdsr.studies.leaderboard.content import BudgetBoard, BudgetBoards, Entry, Leaderboard, RowTraining, Scores
from hkdsr.studies.leaderboard.statistics import Difference
from hkdsr.studies.results import Cost


def read_leaderboard(content: dict[str, Any]) -> Leaderboard:
    """The leaderboard that the JSON file's content was written from."""

    def scores(found: dict[str, Any]) -> Scores:
        differences = {name: found[name] and Difference(**found[name]) for name in ("to_plain", "to_best")}
        return Scores(**{**found, **differences})

    def training(found: dict[str, Any] | None) -> RowTraining | None:
        return RowTraining(**{**found, "cost": Cost(**found["cost"])}) if found else None

    entries = tuple(
        Entry(
            entry["label"], {name: scores(found) for name, found in entry["sets"].items()}, training(entry["training"])
        )
        for entry in content["entries"]
    )
    others = {name: content[name] for name in ("protocols", "images", "facts", "controls", "unfinished")}
    return Leaderboard(entries, **others)


def read_boards(content: dict[str, Any]) -> BudgetBoards:
    """As ``read_leaderboard``, for a study with budgets."""
    budgets = (
        BudgetBoard(
            found["budget"],
            found["seconds"],
            {label: Plan(**made) for label, made in found["plans"].items()},
            read_leaderboard(found["board"]),
            found["off"],
        )
        for found in content["budgets"]
    )
    measurement = {label: RowMeasurement(settings={}, **row) for label, row in content["measurement"].items()}
    return BudgetBoards(measurement, tuple(budgets))
