"""Commands that take images on the command line: per-image scores, and the images that an export is compared on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tiny

from hkdsr.__main__ import main
from hkdsr.nets.files.load import build, save
from hkdsr.scoring import evaluate_set


def output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """Standard output and standard error of ``hkdsr`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["hkdsr", *map(str, arguments)])
    main()
    found = capsys.readouterr()
    return found.out, found.err


def test_evaluate_shows_every_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.photographs(tmp_path / "Mine", 3, 40, 44)
    arguments = ("evaluate", "bicubic", "--scale", 2, "--root", tmp_path, "--sets", "Mine")
    score = evaluate_set(None, tmp_path / "Mine", 2)
    total = ["Mine", f"{score.psnr_y:.3f}", f"{score.ssim_y:.4f}"]
    short, _ = output(monkeypatch, capsys, *arguments)
    assert [line.split() for line in short.splitlines()[2:]] == [total]
    long, _ = output(monkeypatch, capsys, *arguments, "--per-image")
    each = [[image.name, f"{image.psnr_y:.3f}", f"{image.ssim_y:.4f}"] for image in score.images]
    assert [name for name, *_ in each] == ["00", "01", "02"]
    assert [line.split() for line in long.splitlines()[2:]] == [*each, total]


def test_export_compares_on_the_images_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    tiny.photographs(tmp_path / "images", 2, 40, 44)
    network, target = tmp_path / "network.safetensors", tmp_path / "network.onnx"
    save(build(tiny.STUDENT, 2), network)
    images = sorted((tmp_path / "images").iterdir())
    _, messages = output(monkeypatch, capsys, "export", network, "-o", target, "--images", *images)
    # Each image whole, and a corner of it with odd sides.
    assert "4 images" in messages
    assert target.exists()
    monkeypatch.setattr(sys, "argv", ["hkdsr", "export", str(network), "--images", str(tmp_path / "absent.png")])
    with pytest.raises(SystemExit):
        main()
    assert "absent.png" in capsys.readouterr().err
