"""Recipes from TOML files."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hkdsr.errors import HkdsrError
from hkdsr.methods import METHODS, Method, method_class, sum_class
from hkdsr.methods.outside import outside_class

Recipe = TypeVar("Recipe")

NAMES = {dict: "a table", list: "a list", str: "text", bool: "true or false", int: "a whole number", float: "a number"}
RENAMED = {
    "data.val_pictures": "data.val_images",
    "exits.pictures": "exits.teacher_images",
}
"""Settings of older recipes and what they are called now."""


def read_recipe(path: Path, kind: type[Recipe]) -> Recipe:
    """The recipe of a TOML file; settings it leaves out keep their defaults.

    Raises HkdsrError naming the file and the setting: no such file, invalid TOML, an unknown setting, a wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HkdsrError(f"cannot read the recipe {path} ({error.strerror}): check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HkdsrError(f"{path} is not valid TOML ({error}): correct that line") from error
    return _filled(kind, content, path, "")


def _filled(kind: Any, content: dict[str, Any], path: Path, prefix: str) -> Any:
    hints = get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in content.items():
        where = f"{prefix}{name}"
        if where in RENAMED:
            raise HkdsrError(f"{path} sets {where!r}, which is now called {RENAMED[where]!r}: rename it")
        if name not in known:
            raise HkdsrError(f"{path} sets {where!r}, which is not a setting: choose from {', '.join(sorted(known))}")
        values[name] = _value(hints[name], value, path, where)
    try:
        return kind(**values)
    except HkdsrError as error:
        raise HkdsrError(f"{path}: {error}") from error


def _value(hint: Any, value: Any, path: Path, where: str) -> Any:
    if hint is Method:
        return _method(dict(_expect(dict, value, path, where)), path, where)
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


def _method(table: dict[str, Any], path: Path, where: str) -> Method:
    if {"name", "use"} <= table.keys():
        raise HkdsrError(f"{path} sets both {where}.name and {where}.use: leave one of them out")
    use, name = table.pop("use", None), table.pop("name", None)
    names = [one for one in (name if isinstance(name, list) else [name]) if isinstance(one, str) and one in METHODS]
    if use is None and not (name == names or [name] == names):
        raise HkdsrError(f"{path}: {where}.name is {name!r}: choose one of {', '.join(METHODS)}")
    try:
        if use is not None:
            kind = outside_class(_expect(str, use, path, f"{where}.use"), path.parent)
        else:
            kind = sum_class(names) if isinstance(name, list) else method_class(names[0])
    except HkdsrError as error:
        raise HkdsrError(f"{path}: {error}") from error
    return _filled(kind, table, path, f"{where}.")


def _expect(kind: type, value: Any, path: Path, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise HkdsrError(f"{path}: {where} is {value!r}: give {NAMES[kind]}")
    return value
