"""Every setting has a help text where it is declared, which names its choices, and ``--help`` shows it."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from hkdsr.cli.main import COMMANDS
from hkdsr.cli.recipes import parse_recipe
from hkdsr.methods import METHODS
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.studies.study import Study

SHORTEST = 12


def of_commands() -> Iterator[type]:
    """The dataclasses that the modules of commands declare."""
    for name in COMMANDS:
        module = importlib.import_module(f"hkdsr.cli.{name}")
        kinds = (kind for kind in vars(module).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind))
        yield from (kind for kind in kinds if kind.__module__ == module.__name__)


def nested(hint: Any) -> Iterator[type]:
    """The dataclasses in a type, such as that of ``tuple[Row, ...]``."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for argument in get_args(hint):
        yield from nested(argument)


def reachable(*kinds: type) -> list[type]:
    """These dataclasses, those they inherit from, and those of their fields."""
    found: dict[str, type] = {}
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop()
        if kind.__name__ not in found and dataclasses.is_dataclass(kind):
            found[kind.__name__] = kind
            hints = get_type_hints(kind)
            fields = [inner for field in dataclasses.fields(kind) for inner in nested(hints[field.name])]
            waiting += [*kind.__mro__[1:], *fields]
    return [found[name] for name in sorted(found)]


def help_texts(kind: type) -> dict[str, str]:
    """The help text of every setting that the body of a class declares; empty if it is missing."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    fields = {field.name for field in dataclasses.fields(kind)}
    texts = {}
    for statement, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            value = following.value if isinstance(following, ast.Expr) else None
            texts[statement.target.id] = value.value if isinstance(value, ast.Constant) else ""
    return {name: str(text) for name, text in texts.items() if name in fields}


def choices(hint: Any) -> tuple[Any, ...]:
    """The values of a ``Literal``, also of an optional one."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(choice for argument in get_args(hint) for choice in choices(argument))
    return get_args(hint) if get_origin(hint) is Literal else ()


KINDS = reachable(TrainRecipe, DistillRecipe, Study, *METHODS.values(), *of_commands())


def test_all_dataclasses_of_settings_are_found() -> None:
    names = {kind.__name__ for kind in KINDS}
    assert {"Data", "Training", "ExitSettings", "Row", "FeatureMethod", "AugKD", "Upscale", "Strip"} <= names
    assert names >= {kind.__name__ for kind in METHODS.values()}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_setting_has_a_help_text_that_names_its_choices(kind: type) -> None:
    hints = get_type_hints(kind)
    for name, text in help_texts(kind).items():
        assert len(text) >= SHORTEST, f"{kind.__name__}.{name} has no help text: write a docstring below it"
        missing = [choice for choice in choices(hints[name]) if f"``{choice}``" not in text]
        assert not missing, f"the help text of {kind.__name__}.{name} does not name {missing}"


def test_a_missing_help_text_is_found() -> None:
    @dataclasses.dataclass
    class Silent:
        first: int = 1
        """This one has a text."""
        second: int = 2

    assert help_texts(Silent) == {"first": "This one has a text.", "second": ""}


@pytest.mark.parametrize("name", METHODS)
def test_the_command_line_shows_the_help_texts(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_recipe(DistillRecipe, "distill", ["--method.name", name, "--help"])
    shown = letters(capsys.readouterr().out)
    texts = [help_texts(kind) for kind in reversed(METHODS[name].__mro__) if dataclasses.is_dataclass(kind)]
    own = {setting: text for inherited in texts for setting, text in inherited.items()}
    missing = [setting for setting, text in own.items() if letters(text) not in shown]
    assert not missing


def letters(text: str) -> str:
    """The text without line breaks, frames and punctuation."""
    return re.sub(r"[\W_]", "", text)
