"""Tables that papers printed, with their protocol and source: ``hkdsr compare --published rcan x4``.

They are data of this package, ``published.toml``. A number there that ends in a question mark was written down from
memory and not checked against the paper.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hkdsr.errors import HkdsrError

FILE = Path(__file__).with_name("published.toml")
FROM_MEMORY = "?"
LEGEND = (
    f"A number with {FROM_MEMORY} was written down from memory and is not verified: check the paper before quoting it."
)


@dataclass(frozen=True)
class Table:
    """One table at one scale.

    ``rows`` are lines of cells, the first of which says what was measured. A cell is ``PSNR/SSIM`` or a PSNR as
    printed, with a question mark behind each number that is from memory, or empty where nothing is known. ``networks``
    are the words by which the table is found.
    """

    title: str
    networks: tuple[str, ...]
    scale: int
    protocol: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def from_memory(self) -> bool:
        """Whether any number is."""
        return any(FROM_MEMORY in cell for row in self.rows for cell in row)

    def matches(self, words: Iterable[str]) -> bool:
        """Whether each word is one of the table's networks or its scale (``x4``)."""
        return {word.casefold() for word in words} <= {*self.networks, f"x{self.scale}"}


@cache
def tables() -> tuple[Table, ...]:
    """All of them, in the file's order."""
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return tuple(
        Table(
            entry["title"],
            tuple(entry["networks"]),
            int(scale.removeprefix("x")),
            content["protocols"][entry["protocol"]],
            entry["source"],
            tuple(entry["columns"]),
            tuple(map(tuple, rows)),
        )
        for entry in content["tables"]
        for scale, rows in entry["rows"].items()
    )


def find(words: Sequence[str]) -> list[Table]:
    """The tables that match all ``words``: networks (``rcan``) and scales (``x4``).

    Raises HkdsrError, naming what there is, for a word that no table knows and for words that no table joins.
    """
    found = [table for table in tables() if table.matches(words)]
    if found:
        return found
    networks = sorted({name for table in tables() for name in table.networks})
    scales = sorted({f"x{table.scale}" for table in tables()})
    raise HkdsrError(
        f"no published table is about '{' '.join(words)}': choose from {', '.join((*networks, *scales))}, as in rcan x4"
    )


def markdown(table: Table) -> str:
    """The table with its protocol, source and marks, under a heading."""
    lines = [("", *table.columns), ("---", *("---:" for _ in table.columns)), *table.rows]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    parts = [f"### {table.title}, x{table.scale}", rows, f"Protocol: {table.protocol}", f"Source: {table.source}"]
    return "\n\n".join([*parts, LEGEND] if table.from_memory else parts)


def described(words: Sequence[str]) -> str:
    """The tables that match, as Markdown, or without any words a list of all. Raises HkdsrError as ``find`` does."""
    if words:
        return "\n\n".join(map(markdown, find(words)))
    marks = {True: " (from memory, not verified)", False: ""}
    return "\n".join(
        f"{' '.join((*table.networks, f'x{table.scale}')):<24} {table.title}{marks[table.from_memory]}"
        for table in tables()
    )
