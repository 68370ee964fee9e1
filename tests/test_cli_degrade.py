"""``hkdsr degrade``, and ``hkdsr evaluate --against``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
from small import refusal

from hkdsr.cli.degrade import run
from hkdsr.cli.evaluate import run as evaluate
from hkdsr.data import bicubic_pair, rgb
from hkdsr.data.degrade import Degrader, random_of
from hkdsr.nets.files.load import load
from hkdsr.report.degraded import BETWEEN, COLUMNS, GAP, ROWS, draw_samples
from hkdsr.scoring import psnr_y, ssim_y
from hkdsr.scoring.inference import super_resolve
from hkdsr.settings.degrade import Degrade


def test_the_page_shows_what_is_given_beside_what_training_would_see() -> None:
    """An image of one size: no place is drawn, so each sample is the degraded image itself."""
    image = np.arange(3 * 32 * 32, dtype=np.uint8).reshape(32, 32, 3)
    settings = Degrade("bsrgan")
    page = draw_samples([image], settings, 2, seed=5)
    assert page.shape == (ROWS * (32 + GAP) + GAP, COLUMNS * (64 + BETWEEN + GAP) + GAP, 3)
    y, x = GAP + (32 + GAP), GAP + 2 * (64 + BETWEEN + GAP)  # sample 10
    assert np.array_equal(page[y : y + 32, x : x + 32], image)
    random = random_of(5, 0, 10)
    random.integers(0, endpoint=True)
    random.integers(0, endpoint=True)
    shown = page[y : y + 32, x + 32 + BETWEEN : x + 64 + BETWEEN]
    assert np.array_equal(shown[::2, ::2], Degrader(settings, 2).degraded(image, random))
    assert np.array_equal(shown[::2, ::2], shown[1::2, 1::2])


def test_a_recipe_says_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tiny.photographs(tmp_path / "images")
    target = tmp_path / "page.png"
    (tmp_path / "r.toml").write_text("scale = 2\n[data]\nlr_only = true\n[degrade]\npreset = 'bsrgan'\n")
    run([str(images), "--recipe", str(tmp_path / "r.toml"), "--preview", str(target)])
    assert capsys.readouterr().out == f"written: {target}\n"
    files = [rgb(path) for path in sorted(images.iterdir())]
    assert np.array_equal(rgb(target), draw_samples(files, Degrade("bsrgan"), 1, 0))
    run([str(images), "--scale", "2", "--degrade.first.jpeg", "0", "--preview", str(target)])
    assert not np.array_equal(rgb(target), draw_samples(files, Degrade("real-esrgan"), 2, 0))


def test_mistakes_are_named(tmp_path: Path) -> None:
    images = tiny.photographs(tmp_path / "images", count=1)
    page = str(tmp_path / "page.png")
    assert "there is no image or folder" in refusal(lambda: run([str(tmp_path / "none"), "--preview", page]))
    same = str(images / "00.png")
    assert "also one of the images" in refusal(lambda: run([str(images), "--preview", same]))
    assert "does not have the suffix" in refusal(lambda: run([same, "--preview", str(tmp_path / "page.html")]))
    assert "nothing to show" in refusal(lambda: run([same, "--degrade.preset", "none", "--preview", page]))
    (tmp_path / "empty").mkdir()
    assert "has no images" in refusal(lambda: run([str(tmp_path / "empty"), "--preview", page]))


def test_scores_against_a_teacher_follow_those_against_hr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tiny.photographs(tmp_path / "Mine", count=1)
    file = tiny.teacher(tmp_path / "teacher.safetensors", tiny.STUDENT)
    place = ["--root", str(tmp_path), "--sets", "Mine"]
    evaluate(["small_x2", *place, "--against", str(file)])
    first, second = capsys.readouterr().out.split("x2: ")[1:]
    assert "fidelity, not quality" in second
    assert "fidelity" not in first
    lr, _ = bicubic_pair(rgb(images / "00.png"), 2)
    a, b = (super_resolve(load(name), lr) for name in ("small_x2", file))
    assert second.split()[-2:] == [f"{psnr_y(a, b, 2):.3f}", f"{ssim_y(a, b, 2):.4f}"]
    other = tiny.teacher(tmp_path / "x3.safetensors", tiny.STUDENT, 3)
    assert "is a x3 network" in refusal(lambda: evaluate(["small_x2", *place, "--against", str(other)]))
