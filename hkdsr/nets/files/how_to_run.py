"""The settings of a named network that say how it is run, in place of what is found by running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from hkdsr.errors import HkdsrError
from hkdsr.user_code import Value

HOW = ("colour_range", "pad_multiple", "output")
"""See ``hkdsr.wrap``. Python code that takes them gets them too."""


class How(TypedDict):
    """As in ``hkdsr.wrap``; None where it is to be found."""

    colour_range: float | None
    pad_multiple: int | None
    output: int | None


def how_to_run(arguments: Mapping[str, Value], name: str) -> How:
    """What the settings of the network ``name`` say. Raises HkdsrError for values that are no such numbers."""
    given = {key: _number(arguments[key], key, name) for key in HOW if key in arguments}
    whole = {key: int(given[key]) if key in given else None for key in HOW[1:]}
    return How(colour_range=given.get("colour_range"), pad_multiple=whole["pad_multiple"], output=whole["output"])


def _number(value: Value, key: str, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or (value == 0 and key != "output"):
        raise HkdsrError(f"the setting {key} of {name} is {value!r}: set it to a number")
    return value
