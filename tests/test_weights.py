"""The shipped networks are what their cards say: size, hash, type, and scores by this evaluator."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from safetensors import safe_open

from hkdsr.nets.files.load import WEIGHTS, load
from hkdsr.scoring import evaluate

SHIPPED = sorted(WEIGHTS.glob("*.safetensors"))
LARGEST = 2 * 1024 * 1024


def test_every_network_has_a_card_and_every_card_a_network() -> None:
    assert SHIPPED
    assert {path.stem for path in WEIGHTS.glob("*.md")} == {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_file_and_card_agree(path: Path) -> None:
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert path.stat().st_size <= LARGEST
    with safe_open(path, "pt") as file:
        names = file.keys()
        assert {file.get_tensor(name).dtype.itemsize for name in names} == {2}
    assert load(path).scale == int(path.stem.rpartition("_x")[2])
    for part in ("**Recipe**", "seed", "steps", "**Images**", "**Scores**", "**Licence**"):
        assert part in card, part


def cells(card: str, name: str) -> list[str]:
    """Those of the row that ``name`` begins, without it."""
    (line,) = re.findall(rf"^ *\| *{name} *\|(.*)\|$", card, re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_scores_are_those_of_the_card(path: Path, shared: Path) -> None:
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    at = cells(card, "").index("Set5")
    (score,) = evaluate(load(path), "Set5", shared / "benchmarks")
    assert f"{score.psnr_y:.2f}" == cells(card, "PSNR-Y")[at]
    assert f"{score.ssim_y:.4f}" == cells(card, "SSIM-Y")[at]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_readme_has_the_scores_of_the_card(path: Path) -> None:
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    readme = (WEIGHTS.parents[1] / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\|.*`{path.stem}`.*\|$", readme, re.MULTILINE)
    # What counts for a network that was taught without HR is its likeness to the teacher.
    kind = " to the teacher" if "PSNR-Y to the teacher" in card else ""
    columns = (cells(card, f"{name}{kind}") for name in ("PSNR-Y", "SSIM-Y"))
    scores = [" / ".join(both) for both in zip(*columns, strict=True)]
    assert row.endswith(f"| {' | '.join(scores)} |")
