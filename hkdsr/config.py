"""Recipes from TOML files, and recipes as flat names and values."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hkdsr.errors import HkdsrError
from hkdsr.methods import METHODS, Method, method_class, method_name, sum_class
from hkdsr.methods.outside import method_origin, outside_class
from hkdsr.recipe import DistillRecipe

Recipe = TypeVar("Recipe")

NAMES = {dict: "a table", list: "a list", str: "text", bool: "true or false", int: "a whole number", float: "a number"}
METHOD_FLAGS = ("--method.name", "--method.use")
# Settings that change neither the weights a step produces nor their meaning; everything else must match on resume.
FREE_ON_RESUME = ("out", "data.cache", "data.val", "training.device", "training.log_every", "training.save_every")
FREE_ON_RESUME += ("training.validate_every", "training.tensorboard", "data.val_pictures", "training.threads")
FREE_ON_RESUME += ("training.minutes",)
# Files, which may lie elsewhere on resume: hashes of their content must match, and for data.train the names below the
# folders that are given too.
FILES = ("teacher", "data.train", "data.share", "init_from", "method.use", "method.teachers", "method.mtkd.teachers")
FILES += ("method.features", "method.csd.features", "method.dckd.features")


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
    """Every setting as dotted name and JSON value: ``{"training.steps": "20000", ...}``.

    A method from a file outside the package adds that file (``method.use``) and its hash (``method.use_sha256``).
    """
    flat: dict[str, str] = {}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if isinstance(value, Method):
            flat[f"{field.name}.name"] = json.dumps(method_name(value))
            if origin := method_origin(value):
                flat[f"{field.name}.use"] = json.dumps(f"{origin.path}:{type(value).__name__}")
                flat[f"{field.name}.use_sha256"] = json.dumps(origin.sha256)
        if dataclasses.is_dataclass(value):
            flat |= {f"{field.name}.{name}": text for name, text in flat_settings(value).items()}
        else:
            flat[field.name] = json.dumps(value, default=str)
    return flat


def lasting_settings(recipe: Any) -> dict[str, str]:
    """The flat settings that a run has to keep when it is resumed.

    They are those that decide which weights come out, apart from the files, of which the content counts. Exits that the
    method does not use do not count, nor does where the teacher's pictures come from for one without a teacher.
    """
    flat = {name: text for name, text in flat_settings(recipe).items() if name not in (*FREE_ON_RESUME, *FILES)}
    method = getattr(recipe, "method", None)
    if not isinstance(method, Method) or method.uses_exits:
        return flat
    used = ("exits.pictures",) if method.uses_teacher else ()
    return {name: text for name, text in flat.items() if name in used or not name.startswith("exits.")}


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


def with_method(recipe: Recipe, arguments: list[str]) -> tuple[Recipe, list[str]]:
    """Take ``--method.name NAME`` out of command line arguments; the recipe then holds that method's defaults.

    NAME may be several names with commas between them, whose sum it then is; ``--method.use FILE.py:CLASS`` takes a
    method from a file outside the package, its path relative to the current folder.

    The method's own flags depend on it, so it has to be known before the other flags are read. A recipe without
    a method keeps the arguments as they are.

    Raises HkdsrError for an unknown name, and for a file that cannot be run or holds no such method.
    """
    if not isinstance(recipe, DistillRecipe):
        return recipe, arguments
    words = [word for a in arguments for word in (a.split("=", 1) if a.split("=")[0] in METHOD_FLAGS else [a])]
    places = [index for index, word in enumerate(words) if word in METHOD_FLAGS]
    if not places:
        return recipe, arguments
    if len(places) > 1:
        raise HkdsrError("--method.name or --method.use is given more than once: leave all but one of them out")
    (at,) = places
    value = "".join(words[at + 1 : at + 2])
    chosen = method_class(value) if words[at] == METHOD_FLAGS[0] else outside_class(value, Path.cwd())
    rest = words[:at] + words[at + 2 :]
    if type(recipe.method) is chosen:
        return recipe, rest
    return dataclasses.replace(recipe, method=chosen()), rest
