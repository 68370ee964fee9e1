"""Recipes from TOML files, and recipes as flat names and values."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hkdsr.errors import HkdsrError
from hkdsr.methods import METHODS, Method, method_class, method_name
from hkdsr.recipe import DistillRecipe

Recipe = TypeVar("Recipe")

NAMES = {dict: "a table", list: "a list", str: "text", bool: "true or false", int: "a whole number", float: "a number"}
METHOD_FLAG = "--method.name"


def read_recipe(path: Path, kind: type[Recipe]) -> Recipe:
    """The recipe of a TOML file; settings it leaves out keep their defaults.

    Raises HkdsrError naming the file and the setting: no such file, invalid TOML, an unknown setting, a wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HkdsrError(f"cannot read the recipe {path} ({error.strerror}): check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HkdsrError(f"{path} is not valid TOML ({error}): mend that line") from error
    return _filled(kind, content, path, "")


def flat_settings(recipe: Any) -> dict[str, str]:
    """Every setting as dotted name and JSON value: ``{"training.steps": "20000", ...}``."""
    flat: dict[str, str] = {}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if isinstance(value, Method):
            flat[f"{field.name}.name"] = json.dumps(method_name(value))
        if dataclasses.is_dataclass(value):
            flat |= {f"{field.name}.{name}": text for name, text in flat_settings(value).items()}
        else:
            flat[field.name] = json.dumps(value, default=str)
    return flat


def _filled(kind: Any, content: dict[str, Any], path: Path, prefix: str) -> Any:
    hints = get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in content.items():
        where = f"{prefix}{name}"
        if name not in known:
            raise HkdsrError(f"{path} sets {where!r}, which is no setting: choose from {', '.join(sorted(known))}")
        values[name] = _value(hints[name], value, path, where)
    try:
        return kind(**values)
    except HkdsrError as error:
        raise HkdsrError(f"{path}: {error}") from error


def _value(hint: Any, value: Any, path: Path, where: str) -> Any:
    if hint is Method:
        table = dict(_expect(dict, value, path, where))
        name = table.pop("name", None)
        if not isinstance(name, str) or name not in METHODS:
            raise HkdsrError(f"{path}: {where}.name is {name!r}: choose one of {', '.join(METHODS)}")
        return _filled(method_class(name), table, path, f"{where}.")
    if dataclasses.is_dataclass(hint):
        return _filled(hint, _expect(dict, value, path, where), path, f"{where}.")
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _value(next(a for a in arguments if a is not type(None)), value, path, where)
    if origin is Literal:
        if value not in arguments:
            raise HkdsrError(f"{path}: {where} is {value!r}: choose one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        items = _expect(list, value, path, where)
        if arguments[-1] is not Ellipsis and len(items) != len(arguments):
            raise HkdsrError(f"{path}: {where} is {value!r}: give {len(arguments)} values")
        return tuple(_value(arguments[0], item, path, where) for item in items)
    if hint is Path:
        return Path(_expect(str, value, path, where)).expanduser()
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _expect(hint, value, path, where)


def _expect(kind: type, value: Any, path: Path, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise HkdsrError(f"{path}: {where} is {value!r}: give {NAMES[kind]}")
    return value


def with_method(recipe: Recipe, arguments: list[str]) -> tuple[Recipe, list[str]]:
    """Take ``--method.name NAME`` out of command line arguments; the recipe then holds that method's defaults.

    The method's own flags depend on its name, so it has to be known before the other flags are read. A recipe without
    a method keeps the arguments as they are. Raises HkdsrError for an unknown name.
    """
    if not isinstance(recipe, DistillRecipe):
        return recipe, arguments
    words = [word for a in arguments for word in (a.split("=", 1) if a.startswith(f"{METHOD_FLAG}=") else [a])]
    if METHOD_FLAG not in words:
        return recipe, arguments
    at = words.index(METHOD_FLAG)
    chosen = method_class("".join(words[at + 1 : at + 2]))
    rest = words[:at] + words[at + 2 :]
    if type(recipe.method) is chosen:
        return recipe, rest
    return dataclasses.replace(recipe, method=chosen()), rest
