"""Durations in settings: ``60 s``, ``15 min``, ``1 h``."""

from __future__ import annotations

import re

from hkdsr.errors import HkdsrError

SECONDS = {"s": 1, "min": 60, "h": 3600}
FORM = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,9}})?) *({'|'.join(SECONDS)})", re.ASCII)


def duration(name: str, text: str) -> float:
    """The seconds that ``text`` stands for. Raises HkdsrError, naming the setting ``name``, for any other text."""
    found = FORM.fullmatch(text.strip())
    seconds = float(found[1]) * SECONDS[found[2]] if found else 0.0
    if not seconds:
        raise HkdsrError(
            f"{name} has {text!r}, which is no duration: write a number above 0 and s, min or h, as '240 s' or '4 min'"
        )
    return seconds
