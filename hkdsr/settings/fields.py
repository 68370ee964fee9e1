"""What continuing a run requires of a setting, declared with the setting: ``field(default=..., metadata=FREE)``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field
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
    """A setting that takes several texts or paths, given as one of them or as several: always a tuple."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | Path) else (value,)
