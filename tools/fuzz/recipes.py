"""Recipes with mistakes of grammar, type, range, size and depth, and then read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.settings.resume import flat_settings
from hkdsr.settings.toml import read_recipe
from tools.fuzz.bytewise import damaged, pick

KINDS = (TrainRecipe, DistillRecipe)
VALUES = (
    *("0", "-1", "1", "2", "1e400", "-inf", "nan", "9223372036854775808", "0x10", "1_000", "0.1", "1979-05-27"),
    *("true", '""', "'text'", '"D:\\new"', "'D:\\new'", '"""\nlines\n"""', "[]", "[[]]", "[1, 'a']", "{}", "{a = 1}"),
    *("[0.1, 0.2]", "'cpu'", "'auto'", "07:32:00", "'\u56f3'", '"\\u0000"', "'~'", "'" + "x" * 3000 + "'"),
)
ODD = ("\ufeff", "\0", "\r", "\u2028", '"', "'", "]", "[", "{", "=", ".", "#", "\\", "\t", "\x7f", "\U0001f600", "\n")
DEPTHS: tuple[Callable[[int], str], ...] = (
    lambda depth: "deep = " + "[" * depth + "]" * depth,
    lambda depth: "deep = " + "{a = " * depth + "1" + "}" * depth,
    lambda depth: ".".join(["a"] * depth) + " = 1",
    lambda depth: "[" + ".".join(["training"] * depth) + "]",
    lambda depth: "[[" + ".".join(["a"] * depth) + "]]",
    lambda depth: "x" * 20 * depth + " = 1",
)


def make(random: np.random.Generator, folder: Path) -> Path:
    """Write one recipe with mistakes."""
    lines = [f"{name} = {text}" for name, text in flat_settings(_kind(random)()).items() if text != "null"]
    for _ in range(1 + pick(random, 3)):
        at = pick(random, len(lines))
        name = lines[at].partition(" = ")[0]
        match pick(random, 9):
            case 0 | 1 | 2 | 3:
                lines[at] = f"{name} = {VALUES[pick(random, len(VALUES))]}"
            case 4:
                lines[at] = lines[at][: pick(random, len(lines[at]))]
            case 5:
                cut = pick(random, len(lines[at]))
                lines[at] = lines[at][:cut] + ODD[pick(random, len(ODD))] + lines[at][cut:]
            case 6:
                lines.insert(at, lines[pick(random, len(lines))])
            case 7:
                lines[at] = f"{name}.{name} = 1"
            case _:
                lines.append(DEPTHS[pick(random, len(DEPTHS))](10 ** (1 + pick(random, 4))))
    content = "\n".join(lines).encode("utf-16" if random.random() < 0.03 else "utf-8")
    path = folder / "recipe.toml"
    path.write_bytes(damaged(content, random) if random.random() < 0.15 else content)
    return path


def use(path: Path, folder: Path) -> None:
    """Read it as either kind of recipe: of distillation if it speaks of a teacher."""
    read_recipe(path, DistillRecipe if b"teacher" in path.read_bytes() else TrainRecipe)


def _kind(random: np.random.Generator) -> type[TrainRecipe] | type[DistillRecipe]:
    return KINDS[pick(random, len(KINDS))]
