"""What a student may take, in settings: ``300k params``, ``10 GMACs @ 1280x720``, ``20 ms``, or the name of a size."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hkdsr.errors import HkdsrError
from hkdsr.settings.fields import as_tuple

Unit = Literal["params", "GMACs", "ms"]

AUTO = "auto"
"""The value of ``student`` that leaves the choice to ``budget``."""
SIZES = {"tiny": "60k params", "small": "180k params", "base": "500k params"}
"""Names of budgets. The shipped ``tiny_x4`` and ``small_x2`` are within those of their names."""
OUTPUT = (1280, 720)
"""Width and height of the image made, in pixels, where the budget names none: that of the papers' tables."""
UNITS: dict[str, Unit] = {"params": "params", "gmacs": "GMACs", "ms": "ms"}
TIMES = {"": 1.0, "k": 1e3, "m": 1e6}
FORM = re.compile(
    r"(?P<number>\d{1,9}(?:\.\d{1,9})?) *"
    r"(?:(?P<times>[km]?) *(?P<params>params)|(?P<unit>GMACs|ms)(?: *@ *(?P<width>\d{1,5})x(?P<height>\d{1,5}))?)",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class Budget:
    """At most ``limit`` parameters, 10^9 multiply-adds (``GMACs``), or milliseconds.

    Multiply-adds and time are those for one image whose SR has ``output`` (width, height) pixels. ``text`` is what the
    user wrote.
    """

    text: str
    unit: Unit
    limit: float
    output: tuple[int, int] = OUTPUT


def read_budget(name: str, text: str) -> Budget:
    """The budget that ``text`` stands for. Raises HkdsrError, naming the setting ``name``, for any other text."""
    text = text.strip()
    found = FORM.fullmatch(SIZES.get(text, text))
    if found:
        limit = float(found["number"]) * TIMES[(found["times"] or "").lower()]
        output = (int(found["width"] or OUTPUT[0]), int(found["height"] or OUTPUT[1]))
        if limit and min(output):
            return Budget(text, UNITS[(found["params"] or found["unit"]).lower()], limit, output)
    raise HkdsrError(
        f"{name} is {text!r}: write '300k params', '10 GMACs @ 1280x720' or '20 ms @ 640x360' (the size of the image "
        f"made), or one of {', '.join(SIZES)}"
    )


def require_budget(name: str, text: str | None) -> None:
    """Raise HkdsrError, naming the setting, unless ``text`` is None or a budget."""
    if text is not None:
        read_budget(name, text)


def is_budget(text: str) -> bool:
    """Whether a text in ``students`` is meant as a budget, and not as a description of a network."""
    return text in SIZES or bool(FORM.fullmatch(text)) or (text[:1].isdigit() and not Path(text).suffix)


def listed_students(given: str | Iterable[str]) -> tuple[str, ...]:
    """The setting ``students`` as a tuple; in a text, sizes are divided by commas, as are the settings of one network.

    ``tiny,compact:features=24,convs=8`` is two of them. Raises HkdsrError for a budget that cannot be read, and for two
    students whose folders would have one name.
    """
    listed: list[str] = []
    for part in (part.strip() for text in as_tuple(given) for part in str(text).split(",")):
        if listed and "=" in part and ":" not in part:
            listed[-1] += f",{part}"
        elif part:
            listed.append(part)
    folders = [folder_name(text) for text in listed]
    for text, folder in zip(listed, folders, strict=True):
        if is_budget(text):
            read_budget("students", text)
        if folders.count(folder) > 1:
            raise HkdsrError(f"students has {text!r} twice: name each once")
    return tuple(listed)


def folder_name(student: str) -> str:
    """The name of the folder of one of ``students``: ``compact-features-24-convs-8``."""
    return re.sub(r"[^a-z0-9.]+", "-", student.lower()).strip("-.")
