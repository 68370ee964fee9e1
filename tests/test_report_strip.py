"""The strip shows what the networks make of the square, untouched, and what the evaluator says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from hkdsr.data import imresize, rgb
from hkdsr.errors import HkdsrError
from hkdsr.nets.files.load import load, save
from hkdsr.report.strip import GAP, PANEL, draw_strip, labels
from hkdsr.scoring.inference import super_resolve

SIDE = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strip")
    tiny.photographs(folder / "images", 1, 90, 121)  # odd: cut to a multiple of the scale
    save(tiny.nearest(2), folder / "nearest.safetensors")
    save(tiny.nearest(3), folder / "nearest_x3.safetensors")
    return folder


def panels(strip: np.ndarray, count: int) -> list[np.ndarray]:
    """The enlarged squares, last to first from the right edge, each reduced to its own pixels again."""
    found = []
    for index in range(count):
        right = strip.shape[1] - index * (PANEL + GAP)
        panel = Image.fromarray(strip[:PANEL, right - PANEL : right])
        found.append(np.asarray(panel.resize((SIDE, SIDE), Image.Resampling.NEAREST)))
    return found[::-1]


def test_every_panel_is_the_square_of_its_network(folder: Path) -> None:
    source, network = folder / "images" / "00.png", folder / "nearest.safetensors"
    truth = rgb(source)[:90, :120]
    lr = imresize(truth, 0.5)
    square = slice(30, 30 + SIDE), slice(41, 41 + SIDE)
    shown = panels(draw_strip(source, ("bicubic", str(network)), (30, 41), SIDE), 3)
    for panel, whole in zip(shown, (imresize(lr, 2), super_resolve(load(network), lr), truth), strict=True):
        assert np.array_equal(panel, whole[square])


def test_by_default_the_square_is_where_bicubic_fails_most(folder: Path, tmp_path: Path) -> None:
    image = np.full((96, 96, 3), 120, np.uint8)
    image[50:62:2, 40:52] = 255  # lines of one pixel in an even field
    Image.fromarray(image).save(tmp_path / "lines.png")
    shown = panels(draw_strip(tmp_path / "lines.png", (str(folder / "nearest.safetensors"),), None, SIDE), 2)
    assert (shown[-1] == 255).sum() == (image == 255).sum()


def test_files_of_one_name_are_told_apart() -> None:
    names = ["bicubic", "runs/a/student.safetensors", "runs/b/student.safetensors", "teacher.pth"]
    assert labels(names) == ["bicubic", "a/student", "b/student", "teacher"]


def test_mistakes_are_named(folder: Path) -> None:
    source, two, three = folder / "images" / "00.png", *(str(folder / f"nearest{x}.safetensors") for x in ("", "_x3"))
    for networks, at, side, told in (
        ((two, three), None, SIDE, "the networks are of scales 2, 3: name one or more of a single scale"),
        (("bicubic",), None, SIDE, "the networks are none but bicubic"),
        ((two,), None, 91, r"a square of 91 is not in .*00\.png of 120x90: set another --side"),
        ((two,), (80, 0), SIDE, r"the square of 24 at 80, 0 is not wholly in .*00\.png: set another --at"),
        ((two,), (0, -1), SIDE, "at 0, -1 is not wholly in"),
    ):
        with pytest.raises(HkdsrError, match=told):
            draw_strip(source, networks, at, side)
