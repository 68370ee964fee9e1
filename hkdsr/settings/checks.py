"""The check of a setting's range, for recipes and methods."""

from __future__ import annotations

from math import isfinite

from hkdsr.errors import HkdsrError


def require_range(name: str, value: float | None, least: float, most: float = float("inf")) -> None:
    """Raise HkdsrError, naming the setting, unless ``value`` is None or finite and from ``least`` to ``most``."""
    if value is not None and not (least <= value <= most and isfinite(value)):
        limits = f"{least} or more" if most == float("inf") else f"a value from {least} to {most}"
        raise HkdsrError(f"{name} is {value}: set it to {limits}")
