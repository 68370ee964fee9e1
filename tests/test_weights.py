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


def test_there_are_some_and_no_card_without_a_network() -> None:
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
    for told in ("**Recipe**", "seed", "steps", "**Images**", "**Scores**", "**Licence**"):
        assert told in card, told


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
def test_the_readme_tells_the_card_s_scores(path: Path) -> None:
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    readme = (WEIGHTS.parents[1] / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\|.*`{path.stem}`.*\|$", readme, re.MULTILINE)
    scores = [" / ".join(both) for both in zip(cells(card, "PSNR-Y"), cells(card, "SSIM-Y"), strict=True)]
    assert row.endswith(f"| {' | '.join(scores)} |")
