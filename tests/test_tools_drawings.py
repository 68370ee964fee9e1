"""The folder of drawings that a recipe asks for: which are taken, what is kept for checks, and their backgrounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hkdsr.errors import HkdsrError
from tools.drawings import Source, is_plain, make, scene

SOURCES = (Source("art", ("art",), 20), Source("other", ("more/art",), 3))


def drawn(file: Path, number: int, side: int = 300) -> None:
    """Circles on a transparent ground, as clip art has them."""
    image = Image.new("RGBA", (side, side))
    draw, random = ImageDraw.Draw(image), np.random.default_rng(number)
    for x, y in random.integers(0, side, (60, 2)):
        colour = (*map(int, random.integers(0, 256, 3)), 255)
        draw.ellipse((x - 20, y - 20, x + 20, y + 20), fill=colour, outline=(0, 0, 0, 255))
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


@pytest.fixture(name="packages")
def _packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    for number, name in enumerate(("boat", "cat", "dog", "house", "sun", "tree")):
        for version in range(6):
            drawn(folder / "art" / f"{name}_{version:02}.png", 10 * number + version)
    for number in range(4):
        drawn(folder / "more" / "art" / f"{'abcd'[number]}.png", 100 + number)
    drawn(folder / "art" / "icon.png", 0, side=64)
    Image.new("RGB", (400, 400), (90, 160, 30)).save(folder / "art" / "flag.png")
    return folder


def names(folder: Path) -> set[str]:
    return {file.stem.split("-")[2] for file in folder.iterdir()}


def test_no_version_of_a_drawing_for_checks_is_trained_on(packages: Path, tmp_path: Path) -> None:
    counts = make(packages, tmp_path / "out", SOURCES, checked=3)
    check, train = names(tmp_path / "out" / "check"), names(tmp_path / "out" / "train")
    assert len(check) == counts["check"] == 3
    assert counts["art"] + counts["other"] == len(train)
    assert not {name.split("_")[0] for name in check} & {name.split("_")[0] for name in train}
    assert not {"icon", "flag"} & (check | train)
    assert all(sum(name.startswith(f"{one}_") for name in train) <= 4 for one in ("boat", "cat", "dog", "house"))
    assert counts["other"] <= 3


def test_the_same_packages_give_the_same_images(packages: Path, tmp_path: Path) -> None:
    made = []
    for out in (tmp_path / "a", tmp_path / "b"):
        make(packages, out, SOURCES, checked=2)
        made.append({file.relative_to(out): file.read_bytes() for file in out.rglob("*.png")})
    assert made[0] == made[1]


def test_scenes_are_opaque_and_of_a_size_to_enlarge(tmp_path: Path) -> None:
    drawn(tmp_path / "one.png", 1, side=1000)
    drawn(tmp_path / "two.png", 2)
    scenes = [scene(tmp_path / "one.png", tmp_path / "two.png", np.random.default_rng(seed)) for seed in range(12)]
    assert {image.mode for image in scenes} == {"RGB"}
    assert all(200 <= max(image.size) <= 400 for image in scenes)
    corners = {image.getpixel((0, 0)) for image in scenes}
    assert len(corners) > 4  # of other backgrounds


def test_what_is_nearly_plain(tmp_path: Path) -> None:
    drawn(tmp_path / "one.png", 1)
    drawing = Image.open(tmp_path / "one.png")
    assert not is_plain(drawing)
    assert is_plain(drawing.resize((300, 20)))
    assert is_plain(Image.new("RGBA", (300, 300), (200, 10, 10, 255)))


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match=r"art is missing: unpack the package of art into "):
        make(tmp_path, tmp_path / "out", SOURCES)
