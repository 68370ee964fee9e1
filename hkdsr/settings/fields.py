"""What continuing a run requires of a setting, declared with the setting: ``field(default=..., metadata=FREE)``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Literal

Resume = Literal["same", "free", "content"]
"""``same``, the default: the value must be the same. ``free``: the value may change, as no weight depends on it.
``content``: the value names a file or folder, which may be moved but must have the same content."""

KEY = "resume"
FREE: Mapping[str, Resume] = {KEY: "free"}
CONTENT: Mapping[str, Resume] = {KEY: "content"}


def resume_kind(setting: Field[Any]) -> Resume:
    """What continuing a run requires of a dataclass field."""
    return setting.metadata.get(KEY, "same")


def as_tuple(value: object) -> tuple[Any, ...]:
    """The value of a setting that takes several, which may be given as a single one: always a tuple."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | Path) else (value,)


def split_commas(settings: Any, name: str) -> None:
    """Make a tuple of texts of a setting that is given as such, or as one text with commas: ``body.0,body.7``."""
    texts = (part.strip() for text in as_tuple(getattr(settings, name)) for part in str(text).split(","))
    object.__setattr__(settings, name, tuple(filter(None, texts)))


def accept_single_values(settings: Any) -> None:
    """Make a tuple of each setting that takes several values, whether one or several were given, as in TOML.

    Called when the frozen dataclass is made; a setting takes several values if its default is a tuple.
    """
    for setting in fields(settings):
        if isinstance(setting.default, tuple):
            object.__setattr__(settings, setting.name, as_tuple(getattr(settings, setting.name)))
