"""The documentation's tables of numbers and names are what the package gives. That it builds is `make docs`' matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from vectors import images, set_gate

from hkdsr.losses import Fusion, fsm
from hkdsr.methods import METHODS

DOCS = Path(__file__).resolve().parents[1] / "docs"

FSM: dict[str, dict[str, Any]] = {
    "default (J = 2, six high bands)": {},
    "J = 1": {"levels": 1},
    "`low`": {"mode": "low"},
    "`cosine`": {"norm": "cosine"},
    "`pixel`, high bands": {"domain": "pixel"},
    "`pixel`, LL weighted 0.02": {"domain": "pixel", "low_weight": 0.02},
    "`direct`": {"mode": "direct"},
    "`wave`, J = 1": {"mode": "wave", "levels": 1},
    "default, 16 x 16": {"side": 16},
    "default, B = 1, 6 x 6 (zeros at level 2)": {"batch": 1, "side": 6},
}
JOINT = {"split": "joint", "pool": "global"}
ACF: dict[str, dict[str, Any]] = {
    "default (G and T by colour, 2-32-2)": {},
    "joint and pooled, 6-96-2": {**JOINT, "hidden": 96},
    "S and T, 2-32-2": {"inputs": "s_t"},
    "G, S and T, 3-48-3": {"inputs": "gt_s_t", "hidden": 48},
    "G, S and T, joint and pooled, 9-72-3": {"inputs": "gt_s_t", **JOINT, "hidden": 72},
    "pooled late, 2-32-2, no sigmoid": {"pool": "late", "bound": "none"},
    "2-8-2, no sigmoid": {"hidden": 8, "bound": "none"},
    "the same, averaged with G": {"hidden": 8, "bound": "none", "average_gt": True},
    "G alone": {"inputs": "gt"},
}


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """The first table under a heading: the cells of every row by its first cell."""
    text = (DOCS / page).read_text(encoding="utf-8").split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines[2:]}


def test_the_values_of_fsm_are_those_of_the_loss() -> None:
    stated = rows("method.md", "### TV3: FSM")
    assert stated.keys() == FSM.keys()
    for name, options in FSM.items():
        inputs = {key: value for key, value in options.items() if key in ("batch", "side")}
        settings = {key: value for key, value in options.items() if key not in inputs}
        assert fsm(*images(**inputs), **settings).item() == pytest.approx(float(stated[name][0]), rel=1e-8), name


def test_the_values_of_acf_are_those_of_the_loss() -> None:
    stated = rows("method.md", "### TV4: ACF")
    assert stated.keys() == ACF.keys()
    for name, options in ACF.items():
        loss = Fusion(**options)
        set_gate(loss)
        parameters, value = stated[name]
        assert sum(parameter.numel() for parameter in loss.parameters()) == int(parameters), name
        assert loss(*images()).item() == pytest.approx(float(value), rel=1e-8), name


def test_every_method_has_its_row() -> None:
    assert [name.strip("`") for name in rows("rivals.md", "# The other methods")] == list(METHODS)
