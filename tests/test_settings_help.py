"""Every setting explains itself, in the recipe, in every method and on the command line."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import textwrap
from typing import Any

import pytest

from hkdsr.cli.main import COMMANDS
from hkdsr.methods import METHODS
from hkdsr.settings.recipe import Data, DistillRecipe, ExitSettings, Training, TrainRecipe
from hkdsr.studies.study import Row, Study

SHORTEST = 12


def settings() -> list[type[Any]]:
    """All dataclasses that users fill in."""
    commands = (importlib.import_module(f"hkdsr.cli.{name}") for name in COMMANDS)
    own = [
        kind
        for module in commands
        for kind in vars(module).values()
        if dataclasses.is_dataclass(kind) and getattr(kind, "__module__", "") == module.__name__
    ]
    return [Data, Training, ExitSettings, TrainRecipe, DistillRecipe, Study, Row, *METHODS.values(), *own]  # pyright: ignore


def explained(kind: type[Any]) -> dict[str, str]:
    """The texts behind the fields that a class declares itself."""
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(declared, ast.ClassDef)
    found = {}
    for field, after in zip(declared.body, declared.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            value = after.value
            found[field.target.id] = str(value.value) if isinstance(value, ast.Constant) else ""
    return found


@pytest.mark.parametrize("kind", settings(), ids=lambda kind: kind.__name__)
def test_every_setting_has_a_help_text(kind: type[Any]) -> None:
    texts = {
        name: text
        for base in reversed(kind.__mro__[:-1])
        if base.__module__.startswith("hkdsr")
        for name, text in explained(base).items()
    }
    lacking = [field.name for field in dataclasses.fields(kind) if len(texts.get(field.name, "")) < SHORTEST]
    assert not lacking


def test_the_check_finds_a_setting_without_a_text() -> None:
    @dataclasses.dataclass
    class Silent:
        said: int = 1
        """This one is explained."""
        silent: int = 2

    assert explained(Silent) == {"said": "This one is explained."}
