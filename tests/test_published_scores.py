"""Public checkpoints score what their manifest says, through the code path of ``hkdsr evaluate``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import hkdsr

SHARED = Path(os.environ.get("HKDSR_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
MANIFEST = SHARED / "weights" / "MANIFEST.json"
ENTRIES = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else []
WITHIN = 0.01  # dB

# Beyond Set5: what the issue of the project asks of its everyday and of its strongest teacher.
FURTHER = (
    ("SMFANet/SMFANet_plus_DF2K_100w_x4SR.pth", "Set14", 28.87),
    ("SMFANet/SMFANet_plus_DF2K_100w_x4SR.pth", "B100", 27.75),
    ("SMFANet/SMFANet_plus_DF2K_100w_x4SR.pth", "Urban100", 26.57),
    ("HPINet/HPINet-M-x4.pth", "Set14", 28.88),
)


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["file"] for entry in ENTRIES])
def test_set5(entry: dict[str, object], shared: Path) -> None:
    (score,) = hkdsr.evaluate(shared / "weights" / str(entry["file"]), "Set5", shared / "benchmarks")
    assert score.psnr_y == pytest.approx(entry["set5_psnr_y_measured"], abs=WITHIN)


@pytest.mark.parametrize(("file", "name", "expected"), FURTHER)
def test_further_sets(file: str, name: str, expected: float, shared: Path) -> None:
    (score,) = hkdsr.evaluate(shared / "weights" / file, name, shared / "benchmarks")
    assert score.psnr_y == pytest.approx(expected, abs=WITHIN)
