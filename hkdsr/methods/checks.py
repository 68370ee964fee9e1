"""Checks of methods' settings when a method is made: each raises HkdsrError that names the setting."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.settings.checks import require_range

if TYPE_CHECKING:
    from hkdsr.methods.base import Method


def require_least(method: Method, least: int, *names: str) -> None:
    """Raise HkdsrError for a setting of ``names`` that is below ``least``; None is accepted."""
    for name in names:
        require_range(f"method.{name}", getattr(method, name), least)


def require_fractions(method: Method, *names: str) -> None:
    """Raise HkdsrError for a setting of ``names`` that is not from 0 to 1."""
    for name in names:
        require_range(f"method.{name}", getattr(method, name), 0, 1)


def require_weights(method: Method) -> None:
    """Raise HkdsrError for a negative setting whose name ends in ``weight`` or ``share``."""
    require_least(method, 0, *(s.name for s in fields(method) if s.name.endswith(("weight", "share"))))


def require_depths(depths: tuple[float, ...]) -> None:
    """Raise HkdsrError unless there are depths, all in (0, 1]."""
    if not depths or not all(0 < depth <= 1 for depth in depths):
        raise HkdsrError(f"method.depths is {depths}: set one or more, each above 0 and at most 1")
