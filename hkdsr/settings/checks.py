"""The check of a setting's range, for recipes and methods."""

from __future__ import annotations

from math import isfinite

from hkdsr.errors import HkdsrError

TRAINED_SCALES = (2, 3, 4)


def require_range(name: str, value: float | None, least: float, most: float = float("inf")) -> None:
    """Raise HkdsrError, naming the setting, unless ``value`` is None or finite and from ``least`` to ``most``."""
    if value is not None and not (least <= value <= most and isfinite(value)):
        limits = f"{least} or more" if most == float("inf") else f"a value from {least} to {most}"
        raise HkdsrError(f"{name} is {value}: set it to {limits}")


def require_trained_scale(scale: int) -> None:
    """Raise HkdsrError for a scale that networks are not trained for; some run at others."""
    if scale not in TRAINED_SCALES:
        raise HkdsrError(f"scale is {scale}: set it to 2, 3 or 4, for which networks are trained")
