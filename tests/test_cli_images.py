"""Flags on images: ``--per-image`` scores, ``--tile`` of upscaling, ``--images`` that an export is compared on."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import tiny

from hkdsr.__main__ import main
from hkdsr.data import rgb
from hkdsr.nets.files.load import build, save
from hkdsr.scoring import evaluate_set


def output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """Standard output and standard error of ``hkdsr`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["hkdsr", *map(str, arguments)])
    main()
    found = capsys.readouterr()
    return found.out, found.err


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What ``hkdsr`` says when it refuses these arguments."""
    with pytest.raises(SystemExit) as ended:
        output(monkeypatch, capsys, *arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


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


def test_upscale_in_tiles_joins_them_without_seams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.photographs(tmp_path / "images", 1, 40, 44)
    (image,) = (tmp_path / "images").iterdir()
    network = tmp_path / "network.safetensors"
    save(build(tiny.STUDENT, 2), network)
    for name, more in (("whole.png", ()), ("tiles.png", ("--tile", 16))):
        out, _ = output(monkeypatch, capsys, "upscale", image, "-m", network, "-o", tmp_path / name, *more)
        assert out.endswith(f"written: {tmp_path / name}\n")
    whole, tiles = (rgb(tmp_path / name).astype(int) for name in ("whole.png", "tiles.png"))
    assert whole.shape == (80, 88, 3)
    assert abs(whole - tiles).max() <= 1
    message = refused(monkeypatch, capsys, "upscale", image, "-m", network, "-o", tmp_path / "c.png", "--tile", 8)
    assert message == "hkdsr upscale: tile is 8: leave it out or set it to at least 16 pixels\n"


def test_export_compares_on_the_images_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    tiny.photographs(tmp_path / "images", 2, 40, 44)
    network, target = tmp_path / "network.safetensors", tmp_path / "network.onnx"
    save(build(tiny.STUDENT, 2), network)
    images = sorted((tmp_path / "images").iterdir())
    command = ("export", network, "-o", target, "--images", *images)
    said = refused(monkeypatch, capsys, *command)  # its weights are random
    assert re.search(r"not written, as bicubic enlargement gives \d+\.\d\d dB more PSNR-Y .*: train it longer", said)
    assert not target.exists()
    maker = ("--author", "jane", "--licence", "MIT")
    out, messages = output(monkeypatch, capsys, *command, "--allow-weak", *maker)
    # Each image whole, and a corner of it with odd sides.
    assert "4 images" in messages
    assert target.exists()
    assert [Path(line.removeprefix("written: ")).name for line in out.splitlines()] == [
        *("network.onnx", "network.json", "network.md")
    ]
    assert json.loads(target.with_suffix(".json").read_text())["license"] == "MIT"
    assert "give your name with --author" in refused(monkeypatch, capsys, *command, "--licence", "MIT")
    assert "absent.png" in refused(monkeypatch, capsys, "export", network, "--images", tmp_path / "absent.png")
