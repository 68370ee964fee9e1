"""Every setting has a help text where it is declared, which names its choices, and ``--help`` shows it."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

import hkdsr.cli
from hkdsr.cli.recipes import parse_recipe
from hkdsr.methods import METHODS
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.studies.study import Study


def commands() -> Iterator[type]:
    """The dataclasses of the command line."""
    for module in pkgutil.iter_modules(hkdsr.cli.__path__):
        content = vars(importlib.import_module(f"hkdsr.cli.{module.name}"))
        yield from (kind for kind in content.values() if isinstance(kind, type) and dataclasses.is_dataclass(kind))


def nested(hint: Any) -> Iterator[type]:
    """The dataclasses in a type, such as ``tuple[Row, ...]``."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for argument in get_args(hint):
        yield from nested(argument)


def reachable(*kinds: type) -> list[type]:
    """These dataclasses, those they inherit from, and those of their fields."""
    found: dict[type, None] = {}
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop()
        if kind in found or not dataclasses.is_dataclass(kind):
            continue
        found[kind] = None
        hints = get_type_hints(kind)
        waiting += [*kind.__mro__[1:], *(k for f in dataclasses.fields(kind) for k in nested(hints[f.name]))]
    return sorted(found, key=lambda kind: kind.__qualname__)


def help_texts(kind: type) -> dict[str, str]:
    """The help text of every setting that the body of a class declares; empty for one without."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    own = {field.name for field in dataclasses.fields(kind)}
    texts: dict[str, str] = {}
    for statement, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            given = isinstance(text, ast.Constant) and isinstance(text.value, str)
            texts[statement.target.id] = text.value.strip() if given else ""
    return {name: text for name, text in texts.items() if name in own}


def choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in (Union, UnionType):
        return tuple(choice for argument in get_args(hint) for choice in choices(argument))
    return get_args(hint) if get_origin(hint) is Literal else ()


KINDS = reachable(TrainRecipe, DistillRecipe, Study, *METHODS.values(), *commands())


def test_all_dataclasses_of_settings_are_found() -> None:
    names = {kind.__name__ for kind in KINDS}
    assert {"Data", "Training", "ExitSettings", "Row", "FeatureMethod", "AugKD", "Upscale", "Strip"} <= names
    assert len(KINDS) > 30


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_setting_has_a_help_text_that_names_its_choices(kind: type) -> None:
    hints = get_type_hints(kind)
    for name, text in help_texts(kind).items():
        assert text.endswith("."), f"{kind.__name__}.{name} has no help text: write a docstring below it"
        assert text[0] == text[0].upper(), name
        missing = [choice for choice in choices(hints[name]) if f"``{choice}``" not in text]
        assert not missing, f"the help text of {kind.__name__}.{name} does not name {missing}"


@pytest.mark.parametrize("name", METHODS)
def test_the_command_line_shows_the_help_texts(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_recipe(DistillRecipe, "distill", ["--method.name", name, "--help"])
    shown = "".join(char for char in capsys.readouterr().out if char.isalnum())
    kinds = [*reachable(DistillRecipe), *(k for k in METHODS[name].__mro__[::-1] if dataclasses.is_dataclass(k))]
    # The text that is nearest to the class counts, as AugKD has other texts than DUKD for the same settings.
    texts = {f"{kind.__name__ if kind.__name__ not in METHODS[name].__mro__ else ''}": help_texts(kind) for kind in kinds}
    for settings in texts.values():
        for setting in settings:
            assert setting.replace("_", "") in shown
