"""Recipes as flat names and values, and which of these must stay when a run is continued."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from hkdsr.methods import Method, method_name
from hkdsr.methods.outside import method_origin
from hkdsr.settings.fields import Resume, resume_kind

USE = "use"
"""The setting that names a method's own file; the hash of that file counts in its place."""


def flat_settings(recipe: Any) -> dict[str, str]:
    """Every setting as dotted name and JSON value: ``{"training.steps": "20000", ...}``.

    A method from a file outside the package adds that file (``method.use``) and its hash (``method.use_sha256``).
    """
    return {name: text for name, text, _ in _walk(recipe, "")}


def settings_by_kind(recipe: Any, *kinds: Resume) -> dict[str, str]:
    """Those of the flat settings that are of one of ``kinds`` (see ``hkdsr.settings.fields``)."""
    return {name: text for name, text, kind in _walk(recipe, "") if kind in kinds}


def lasting_settings(recipe: Any) -> dict[str, str]:
    """The flat settings whose values a run has to keep when it is continued.

    They are those that decide which weights result, apart from files, whose content counts. Exits that the method does
    not use do not count, nor does where the teacher's images come from for a method without a teacher.
    """
    flat = settings_by_kind(recipe, "same")
    method = getattr(recipe, "method", None)
    if not isinstance(method, Method) or method.uses_exits:
        return flat
    used = ("exits.teacher_images",) if method.uses_teacher else ()
    return {name: text for name, text in flat.items() if name in used or not name.startswith("exits.")}


def _walk(settings: Any, prefix: str) -> Iterator[tuple[str, str, Resume]]:
    for declared in dataclasses.fields(settings):
        name, value = f"{prefix}{declared.name}", getattr(settings, declared.name)
        if isinstance(value, Method):
            yield f"{name}.name", json.dumps(method_name(value)), "same"
            if origin := method_origin(value):
                yield f"{name}.{USE}", json.dumps(f"{origin.path}:{type(value).__name__}"), "content"
                yield f"{name}.{USE}_sha256", json.dumps(origin.sha256), "same"
        if dataclasses.is_dataclass(value):
            yield from _walk(value, f"{name}.")
        else:
            yield name, json.dumps(value, default=str), resume_kind(declared)
