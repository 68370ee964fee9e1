"""No setting without use: a study or recipe of the repository shows what each does, and every row can be trained."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import tiny
from test_committed_studies import RESULTS, STUDIES
from test_settings_help import choices
from test_settings_toml import RECIPES

from hkdsr.methods import METHODS
from hkdsr.methods.composed import Composed
from hkdsr.methods.mtkd import MTKD
from hkdsr.settings.recipe import DistillRecipe, ExitSettings
from hkdsr.settings.toml import read_recipe
from hkdsr.studies.study import read_study
from hkdsr.training.run import distill

NEED_FILES = {"features"}
"""Settings whose other values are files that the project does not have: VGG19's weights."""
KINDS = [*METHODS.values(), ExitSettings]


def in_use() -> Iterator[Any]:
    """The settings of methods and exits in all recipes and rows."""
    for recipe in (read_recipe(path, DistillRecipe) for path in RECIPES):
        yield from (recipe.method, recipe.exits)
    for study in map(read_study, STUDIES):
        for row in study.rows:
            yield from (row.method, row.exits or study.exits)


@cache
def values() -> dict[tuple[type, str], set[Any]]:
    """All values of a setting, by its name and the class that declares it."""
    found: dict[tuple[type, str], set[Any]] = defaultdict(set)
    for settings in in_use():
        for setting in dataclasses.fields(settings):
            found[_declaring(type(settings), setting.name), setting.name].add(getattr(settings, setting.name))
    return found


def _declaring(kind: type, name: str) -> type:
    return next(base for base in reversed(kind.__mro__) if name in getattr(base, "__dataclass_fields__", {}))


def test_every_method_is_in_a_study() -> None:
    methods = [row.method for study in map(read_study, STUDIES) for row in study.rows]
    parts = [
        part for method in methods for part in (method.parts.values() if isinstance(method, Composed) else [method])
    ]
    assert set(map(type, parts)) == set(METHODS.values())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_choice_of_every_setting_is_made_somewhere(kind: type) -> None:
    hints = get_type_hints(kind)
    for setting in dataclasses.fields(kind):
        if setting.name in NEED_FILES:
            continue
        found = values()[_declaring(kind, setting.name), setting.name]
        wanted = (True, False) if hints[setting.name] is bool else choices(hints[setting.name])
        assert set(wanted) <= found, setting.name
        # Numbers that several methods have under one name need an example in one of them.
        alike = set().union(*(used for (_, name), used in values().items() if name == setting.name))
        assert alike - {setting.default}, setting.name


WITHOUT_RESULTS = [path for path in STUDIES if path.stem not in {result.parent.name for result in RESULTS}]


@pytest.mark.parametrize("path", WITHOUT_RESULTS, ids=lambda path: path.stem)
def test_every_row_of_a_study_without_results_can_be_trained(path: Path, tmp_path: Path) -> None:
    """One step with small networks of the same families, as deep as the study's."""
    study = read_study(path)
    base = tiny.recipe(tmp_path, steps=1, save_every=1)
    teacher = "smfanet:dim=36,blocks=6" if study.student.startswith("smfanet") else "rlfn:features=12"
    tiny.teacher(tmp_path / "teacher.safetensors", teacher)
    student = study.student.replace("features=24", "features=8").replace("rlfn:blocks", "rlfn:features=12,blocks")
    student = student.replace("dim=24", "dim=32")
    for index, row in enumerate(study.rows):
        method = row.method
        if isinstance(method, MTKD):
            method = dataclasses.replace(method, teachers=(base.teacher,))
        exits = dataclasses.replace(row.exits or study.exits, stage1_steps=1, allow_weak=True, stage1_batch=2)
        recipe = dataclasses.replace(
            base, student=student, method=method, init=row.init, exits=exits, out=tmp_path / f"{index}"
        )
        assert distill(recipe).steps == 1, row.label
