"""What methods check of their settings."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError

if TYPE_CHECKING:
    from hkdsr.methods.base import Method


def require_weights(method: Method) -> None:
    """Raise HkdsrError for a setting whose name ends in ``weight`` and that is negative."""
    for entry in fields(method):
        value = getattr(method, entry.name)
        if entry.name.endswith("weight") and value < 0:
            raise HkdsrError(f"method.{entry.name} is {value}: set it to 0 or more")
