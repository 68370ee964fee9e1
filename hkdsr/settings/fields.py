"""What continuing a run asks of a setting, declared beside the setting: ``field(default=..., metadata=FREE)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field
from typing import Any, Literal

Resume = Literal["same", "free", "content"]
"""``same``: the value must stay; so is every setting that declares nothing. ``free``: it may change, as no weight
depends on it. ``content``: it names a file, which may lie elsewhere but must have the same content."""

KEY = "resume"
FREE: Mapping[str, Resume] = {KEY: "free"}
CONTENT: Mapping[str, Resume] = {KEY: "content"}


def resume_kind(declared: Field[Any]) -> Resume:
    """What continuing a run asks of a dataclass field."""
    return declared.metadata.get(KEY, "same")
