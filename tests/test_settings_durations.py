"""Durations in settings."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkdsr.errors import HkdsrError
from hkdsr.settings.durations import SECONDS, duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("60 s", 60), ("60s", 60), (" 1.5 min ", 90), ("4 min", 240), ("1 h", 3600), ("0.5h", 1800)]
)
def test_units(text: str, seconds: float) -> None:
    assert duration("budgets", text) == seconds


@pytest.mark.parametrize(
    "text", ["", "60", "s", "0 s", "0.0 min", "-1 s", "1e3 s", "4 minutes", "1 s 2", "nan s", "٣ s"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(HkdsrError, match=r"budgets has .*, which is no duration: write a number above 0 and s,"):
        duration("budgets", text)


@given(st.decimals(0, 10**6, places=3), st.sampled_from(list(SECONDS)))
def test_numbers_times_units(number: Decimal, unit: str) -> None:
    text = f"{number} {unit}"
    if number:
        assert duration("budgets", text) == float(number) * SECONDS[unit]
    else:
        with pytest.raises(HkdsrError, match="no duration"):
            duration("budgets", text)
