"""Recipes as flat names and values, and which values must be the same when a run is continued."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hkdsr.methods import Method, method_name
from hkdsr.methods.outside import method_origin
from hkdsr.settings.fields import Resume, as_tuple, resume_kind
from hkdsr.user_code import code_name, read_source

USE = "use"
"""The setting that names the file of a method from outside the package; the hash of that file must be the same."""
NETWORKS = ("teacher", "student")
"""Settings that may name code of the user's, whose file must be the same too."""


def flat_settings(recipe: Any) -> dict[str, str]:
    """Every setting by its dotted name, as JSON: ``{"training.steps": "20000", ...}``.

    A method from a file adds that file (``method.use``) and its hash (``method.use_sha256``), and a network from code
    the hash of its file (``teacher_sha256``, ``student_sha256``).
    """
    return {name: text for name, text, _ in _walk(recipe, "")}


def settings_by_kind(recipe: Any, *kinds: Resume) -> dict[str, str]:
    """The flat settings of these ``kinds`` (see ``hkdsr.settings.fields``)."""
    return {name: text for name, text, kind in _walk(recipe, "") if kind in kinds}


def lasting_settings(recipe: Any) -> dict[str, str]:
    """The flat settings whose values must be the same when a run is continued.

    These are the settings that decide the resulting weights, except names of files, whose content is compared instead.
    Left out are the settings of exits for a method without exits, ``exits.teacher_images`` for a method without a
    teacher, and those of degradations where there are none.
    """
    flat = settings_by_kind(recipe, "same")
    if not recipe.degrade.used:
        flat = {name: text for name, text in flat.items() if not name.startswith("degrade.")}
    method = getattr(recipe, "method", None)
    if not isinstance(method, Method) or method.uses_exits:
        return flat
    used = ("exits.teacher_images",) if method.uses_teacher else ()
    return {name: text for name, text in flat.items() if name in used or not name.startswith("exits.")}


def _walk(settings: Any, prefix: str) -> Iterator[tuple[str, str, Resume]]:
    for setting in dataclasses.fields(settings):
        name, value = f"{prefix}{setting.name}", getattr(settings, setting.name)
        if isinstance(value, Method):
            yield f"{name}.name", json.dumps(method_name(value)), "same"
            if origin := method_origin(value):
                yield f"{name}.{USE}", json.dumps(f"{origin.path}:{type(value).__name__}"), "content"
                yield f"{name}.{USE}_sha256", json.dumps(origin.sha256), "same"
        if dataclasses.is_dataclass(value):
            yield from _walk(value, f"{name}.")
        else:
            yield name, json.dumps(value, default=_text), _kind(settings, setting)
        if name in NETWORKS and (code := code_name(value)):
            _, origin = read_source(code.file, f"set {name} to a file that is there")
            yield f"{name}_sha256", json.dumps(origin.sha256), "same"


def _text(value: object) -> str:
    """A path, or the class of a network or module, whose own text has many lines."""
    return str(value) if isinstance(value, Path) else type(value).__name__


def _kind(settings: Any, setting: dataclasses.Field[Any]) -> Resume:
    kind = resume_kind(setting)
    if kind == "content" and isinstance(settings, Method):
        # Other values than files, such as features = "teacher", have no content and are compared themselves.
        hashed = {*settings.more_teachers, *settings.more_files}
        return kind if all(str(value) in hashed for value in as_tuple(getattr(settings, setting.name))) else "same"
    return kind
