"""Reads recipes and studies from TOML files."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hkdsr.errors import HkdsrError
from hkdsr.methods import METHODS, Method, method_class, sum_class
from hkdsr.methods.outside import outside_class
from hkdsr.paths import user_path
from hkdsr.settings.older import REMOVED

Recipe = TypeVar("Recipe")

NAMES = {dict: "a table", list: "a list", str: "text", bool: "true or false", int: "a whole number", float: "a number"}
RENAMED = {
    "data.val_pictures": "data.val_images",
    "exits.pictures": "exits.teacher_images",
}
"""Settings of older recipes and their names now."""
QUOTES = "write paths with backslashes in single quotes, as 'D:\\images'"
BACKSLASH = re.compile(r'"[^"\n]*\\[^"\n]*"')
"""Text in double quotes with a backslash, which TOML reads as an escape."""
SPACE = 32
"""Characters below this one are control characters."""
LARGEST = 1 << 20
"""Bytes of the largest file that is read."""
QUOTED = re.compile(r'"[^"]*"|\'[^\']*\'')
DEEPEST = 16
"""Dots in a key; ``tomllib`` needs much time and memory for keys of thousands of parts."""


def read_recipe(path: Path, kind: type[Recipe]) -> Recipe:
    """The recipe in a TOML file, of the dataclass ``kind``; settings that the file leaves out have their defaults.

    Raises HkdsrError, which names the file and the setting: no such file, invalid TOML, an unknown setting, a wrong
    type.
    """
    return _filled(kind, read_toml(path), path, "")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file that may be a recipe. Raises HkdsrError, naming the file, if it is not valid TOML."""
    text = _text(path)
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise HkdsrError(f"{path} is not valid TOML (nested too deep): write it with fewer brackets") from error
    except ValueError as error:
        remedy = f"correct that line, and {QUOTES}" if BACKSLASH.search(text) else "correct that line"
        raise HkdsrError(f"{path} is not valid TOML ({error}): {remedy}") from error


def _text(path: Path) -> str:
    """The text of a file that may be a recipe."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise HkdsrError(f"cannot read the recipe {path} ({reason}): check the path") from error
    if len(content) > LARGEST:
        raise HkdsrError(f"{path} has {len(content):,} bytes, too many for a recipe: give the path of a recipe")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HkdsrError(f"{path} is not UTF-8 text: save it with the encoding UTF-8") from error
    keys = (QUOTED.sub("", line).partition("=")[0] for line in text.splitlines())
    if any(key.count(".") > DEEPEST for key in keys):
        raise HkdsrError(f"{path} has a key of more than {DEEPEST} parts: shorten it to the name of a setting")
    return text


def _filled(kind: Any, content: dict[str, Any], path: Path, prefix: str) -> Any:
    hints = get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}
    removed = next((REMOVED[name] for name in REMOVED if METHODS[name] is kind), {})
    values: dict[str, Any] = {}
    for name, value in content.items():
        where = f"{prefix}{name}"
        if where in RENAMED:
            raise HkdsrError(f"{path} sets {where!r}, which is now called {RENAMED[where]!r}: rename it")
        if name in removed:
            raise HkdsrError(f"{path} sets {where!r}, which is now always {removed[name]!r}: leave it out")
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
        # A single value needs no list, as in Python.
        single = arguments[-1] is Ellipsis and not isinstance(value, list | dict)
        items = [value] if single else _expect(list, value, path, where)
        if arguments[-1] is not Ellipsis and len(items) != len(arguments):
            raise HkdsrError(f"{path}: {where} is {value!r}: give {len(arguments)} values")
        return tuple(_value(arguments[0], item, path, where) for item in items)
    if hint in (Path, str):
        text = _expect(str, value, path, where)
        if any(ord(sign) < SPACE for sign in text):
            raise HkdsrError(f"{path}: {where} is {text!r}, which has a line break or a tab: {QUOTES}")
        return user_path(text) if hint is Path else text
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _expect(hint, value, path, where)


def _method(table: dict[str, Any], path: Path, where: str) -> Method:
    if {"name", "use"} <= table.keys():
        raise HkdsrError(f"{path} sets both {where}.name and {where}.use: leave one of them out")
    use, name = table.pop("use", None), table.pop("name", None)
    asked = name if isinstance(name, list) else [name]
    names = [one for one in asked if isinstance(one, str) and one in METHODS]
    if use is None and names != asked:
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
