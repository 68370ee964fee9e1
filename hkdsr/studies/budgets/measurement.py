"""What the rows of a study take, measured once and kept, so that every process and every later call plans alike."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from hkdsr.errors import HkdsrError
from hkdsr.settings.choices import TeacherImages
from hkdsr.settings.resume import lasting_settings, settings_by_kind
from hkdsr.studies.stored import changed_settings, read_stored, write_stored
from hkdsr.studies.study import MEASUREMENT, Row, Study, training

FILE = "result.json"


@dataclass(frozen=True)
class RowMeasurement:
    """Seconds that one row takes on ``device``; ``settings`` are those that decide them.

    ``start`` makes the pruned start, ``exits`` trains and checks the teacher's exits, ``images`` runs the teacher on
    all training images; each is 0 for a row without it. ``step`` is one training step: for a row whose method has a
    teacher with its images on the disk (``cached``), with the teacher run on every crop (``live``), or both; for any
    other row by the value that ``exits.teacher_images`` has.
    """

    settings: dict[str, str]
    device: str
    start: float
    exits: float
    images: float
    step: dict[TeacherImages, float]

    def __post_init__(self) -> None:
        parts = (self.start, self.exits, self.images)
        steps = self.step.values()
        known = steps and self.step.keys() <= set(get_args(TeacherImages))
        if not known or min(*parts, *steps) < 0 or not all(map(isfinite, (*parts, *steps))) or min(steps) == 0:
            raise ValueError("seconds that cannot be")

    def preparation(self, images: TeacherImages) -> float:
        """Seconds before the first step; the teacher's images count where they come from the disk."""
        return self.start + self.exits + (self.images if images == "cached" else 0.0)


def read_measurement(study: Study) -> dict[str, RowMeasurement]:
    """The rows of the study that are measured, by label.

    Raises HkdsrError if the file is damaged, or a row was measured with other settings, which are named.
    """
    path = _path(study)
    found = read_stored(path, _rows, "measure again; runs with other steps must then be repeated") or {}
    for row in study.rows:
        if row.label in found and (changed := _changed(study, row, found[row.label])):
            raise HkdsrError(
                f"{path}: the row '{row.label}' was measured with other settings ({', '.join(changed)}): restore them, "
                "change its label, or change the study's 'out'"
            )
    return {row.label: found[row.label] for row in study.rows if row.label in found}


def write_measurement(study: Study, rows: Mapping[str, RowMeasurement]) -> None:
    """Add ``rows``, by label, to those that are measured. Raises HkdsrError if the disk is full."""
    stored = read_stored(_path(study), _rows, "measure again") or {}
    write_stored(_path(study), {label: dataclasses.asdict(row) for label, row in {**rows, **stored}.items()})


def linked(
    new: Mapping[str, RowMeasurement],
    known: Mapping[str, RowMeasurement],
    again: Mapping[TeacherImages, float],
    first: Mapping[TeacherImages, float],
) -> dict[str, RowMeasurement]:
    """``new`` measurements, by label, in the seconds of the ``known`` ones.

    One row was measured at both times: its steps took ``first`` seconds then and ``again`` seconds now. A part of the
    preparation that a known row has too has the same seconds as there.
    """
    pace = fmean(first[images] / again[images] for images in first.keys() & again.keys())

    def part(name: str, row: RowMeasurement) -> float:
        alike = (other for other in known.values() if name != "images" or _same_images(other, row))
        now = getattr(row, name)
        return next((there for other in alike if (there := getattr(other, name))), pace * now) if now else 0.0

    return {
        label: dataclasses.replace(
            row,
            **{name: part(name, row) for name in ("start", "exits", "images")},
            step={images: pace * seconds for images, seconds in row.step.items()},
        )
        for label, row in new.items()
    }


def _same_images(one: RowMeasurement, other: RowMeasurement) -> bool:
    """Whether the teacher makes the same images for both: of the same training images, with exits or without."""
    names = ("data.share", "method.affinity_stored")
    made = [(row.exits > 0, *map(row.settings.get, names)) for row in (one, other)]
    return made[0] == made[1]


def measured(study: Study) -> bool:
    """Whether every row of the study is measured."""
    return len(read_measurement(study)) == len(study.rows)


def measured_settings(study: Study, row: Row) -> dict[str, str]:
    """The settings that a measurement of the row depends on, and the others of its training but steps and seed."""
    recipe = training(study, row, study.seeds[0], study.training.steps).recipe
    assert recipe is not None
    settings = {**settings_by_kind(recipe, "content"), **lasting_settings(recipe)}
    left_out = ("training.steps", "training.seed")
    return {
        **{name: text for name, text in settings.items() if name not in left_out},
        "training.threads": json.dumps(study.training.threads),
    }


def _changed(study: Study, row: Row, found: RowMeasurement) -> list[str]:
    recipe = training(study, row, study.seeds[0], study.training.steps).recipe
    return changed_settings(found.settings, measured_settings(study, row), recipe)


def _rows(content: dict[str, Any]) -> dict[str, RowMeasurement]:
    return {label: RowMeasurement(**row) for label, row in content.items()}


def _path(study: Study) -> Path:
    return study.out / MEASUREMENT / FILE
