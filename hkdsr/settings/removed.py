"""Settings that older versions had and that are constants now: recipes may not set them, old results may hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping

REMOVED: Mapping[str, Mapping[str, object]] = {"hkdsr+": {"fsm_norm": "none", "probability": 0.3}}
"""By method and setting, the value that is now always used."""


def constants(flat: Mapping[str, str]) -> dict[str, str]:
    """The removed settings of the method in ``flat`` settings, flat too, with their values."""
    removed = REMOVED.get(json.loads(flat.get("method.name", "null")), {})
    return {f"method.{name}": json.dumps(value) for name, value in removed.items()}
