"""Networks of users' own are exported to ONNX, sizes open, and switched to their deployed form."""

from __future__ import annotations

from pathlib import Path

import own
import pytest
import tiny

import hkdsr
from hkdsr.nets.files.load import load

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("style", own.OWN)
def test_they_are_exported(style: str, tmp_path: Path) -> None:
    images = tiny.photographs(tmp_path / "images", count=1, height=150, width=130)
    parity = hkdsr.export(own.own(style), tmp_path / "net.onnx", [images / "00.png"], allow_weak=True)
    assert parity.kept
    found = load(tmp_path / "net.onnx").settings
    assert (found["family"], found["code"]) == ("code", own.OWN[style])
    if style == "switches":
        assert (tmp_path / "net.onnx").read_bytes().count(b"Conv_") < 30
