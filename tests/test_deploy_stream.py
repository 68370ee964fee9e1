"""Images by strips: the files are those of the whole image, whatever is kept beside the pixels and however it lies."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from hostile import heard
from PIL import Image
from tiny import QUIET

import hkdsr
from hkdsr.data import ImageData, imresize, read_image, write_image
from hkdsr.data.resize import imresize_rows
from hkdsr.data.strips import Strips, open_strips
from hkdsr.deploy.upscale_files import upscale_file
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network

pytest.importorskip("pyvips")

WHOLE, STREAMED = replace(QUIET, tile=16), replace(QUIET, tile=16, stream_from=0)
HEIGHT, WIDTH = 53, 70
PROFILE = b"a profile"
LAYOUTS = {
    "png": "P 1 L RGB RGBA LA",
    "tif": "P 1 L RGB RGBA CMYK YCbCr LA",
    "jpg": "1 L RGB CMYK YCbCr",
    "bmp": "P 1 L RGB RGBA",
}
"""The modes of Pillow that each kind of file has room for."""


@pytest.fixture(scope="module")
def network() -> Network:
    return hkdsr.load("tiny_x4")


@pytest.fixture(scope="module")
def photo(shared: Path) -> np.ndarray:
    return read_image(shared / "benchmarks" / "Set5" / "HR" / "baby.png").colour[100 : 100 + HEIGHT, 150 : 150 + WIDTH]


def both(network: Network, source: Path, suffix: str) -> tuple[Path, Path]:
    """The results as a whole and by strips."""
    folder = source.parent
    whole = upscale_file(network, source, folder / f"whole{suffix}", WHOLE)
    return whole, upscale_file(network, source, folder / f"streamed{suffix}", STREAMED)


def deep(photo: np.ndarray) -> np.ndarray:
    return photo.astype(np.uint16) * 257 + 3


@pytest.mark.parametrize("kind", ["rgb", "deep", "grey", "deep grey", "alpha", "deep alpha", "grey alpha"])
def test_a_png_by_strips_is_the_same_file(kind: str, network: Network, photo: np.ndarray, tmp_path: Path) -> None:
    pixels = deep(photo) if "deep" in kind else photo
    grey = np.repeat(pixels[..., :1], 3, axis=2) if "grey" in kind else pixels
    alpha = np.where(pixels[..., 1] > np.median(pixels), pixels[..., 2], 0) if "alpha" in kind else None
    write_image(tmp_path / "a.png", ImageData(grey, alpha, "grey" in kind, PROFILE))
    assert (open_strips(tmp_path / "a.png", 0) is None) == ("alpha" in kind)
    whole, streamed = both(network, tmp_path / "a.png", ".png")
    assert whole.read_bytes() == streamed.read_bytes()
    assert read_image(streamed).profile == PROFILE


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_images_are_turned_upright(suffix: str, orientation: int, photo: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "a maker"
    Image.fromarray(photo).save(tmp_path / f"a.{suffix}", exif=exif, dpi=(300, 300))
    found, image = open_strips(tmp_path / f"a.{suffix}", 0), read_image(tmp_path / f"a.{suffix}")
    assert found is not None
    described, strips = found
    assert (described.notes, described.profile) == (image.notes, image.profile)
    assert described.colour.shape == image.colour.shape
    assert described.notes.exif
    np.testing.assert_array_equal(rows_of(strips), image.colour)


def rows_of(strips: Strips) -> np.ndarray:
    """All pixels, by strips that lie over each other."""
    height, width = strips.shape[:2]
    tops = range(0, height, 11)
    parts = [strips[max(top - 5, 0) : min(top + 16, height), 0:width][min(top, 5) :][:11] for top in tops]
    return np.concatenate(parts)


@pytest.mark.parametrize("settings", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}, {"quality": 40}])
def test_jpeg_by_strips_has_the_same_pixels(settings: dict[str, Any], photo: np.ndarray, tmp_path: Path) -> None:
    for name, pixels in (("rgb", photo), ("grey", photo[..., 0])):
        path = tmp_path / f"{name}.jpg"
        Image.fromarray(pixels).save(path, **settings)
        found = open_strips(path, 0)
        assert found is not None
        expected = read_image(path).colour
        np.testing.assert_array_equal(rows_of(found[1]), expected if name == "rgb" else expected[..., 0])


@pytest.mark.parametrize(
    ("suffix", "mode"), [(suffix, mode) for suffix, modes in LAYOUTS.items() for mode in modes.split()]
)
def test_layouts_by_strips_are_those_of_the_whole(mode: str, suffix: str, photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo).convert(mode).save(path)
    if (mode, suffix) == ("YCbCr", "tif") and int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("Pillow before 13 cannot read the YCbCr TIFF files that it writes")
    found, image = open_strips(path, 0), read_image(path)
    if found is not None:
        described, strips = found
        assert described.grey == image.grey
        np.testing.assert_array_equal(rows_of(strips), image.colour[..., 0] if image.grey else image.colour)
    assert (found is None) == (suffix == "bmp" or (mode not in ("L", "RGB") and (mode, suffix) not in PLAIN))


PLAIN = {("P", "png"), ("1", "png"), ("1", "jpg"), ("YCbCr", "jpg")}
"""Files that are grey or RGB, whatever the mode that Pillow wrote."""


@pytest.mark.parametrize("kind", ["rgb", "grey", "alpha"])
def test_tiff_by_strips_has_the_same_pixels(kind: str, network: Network, photo: np.ndarray, tmp_path: Path) -> None:
    alpha, colour = (photo[..., 1] if kind == "alpha" else None), photo
    colour = np.repeat(photo[..., :1], 3, axis=2) if kind == "grey" else photo
    write_image(tmp_path / "a.png", ImageData(colour, alpha, kind == "grey", PROFILE))
    whole, streamed = (read_image(path) for path in both(network, tmp_path / "a.png", ".tif"))
    np.testing.assert_array_equal(whole.colour, streamed.colour)
    assert (kind == "alpha") == (whole.alpha is not None) == (streamed.alpha is not None)
    if whole.alpha is not None and streamed.alpha is not None:
        np.testing.assert_array_equal(whole.alpha, streamed.alpha)
    assert (streamed.grey, streamed.profile) == (kind == "grey", PROFILE)


def test_what_cannot_be_written_by_lines_is_said(network: Network, photo: np.ndarray, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", ImageData(photo))
    with heard() as notes:
        whole, streamed = both(network, tmp_path / "a.png", ".webp")
    assert whole.read_bytes() == streamed.read_bytes()
    assert any(note.endswith("name it .png or .tif to write it line by line") for note in notes)


def test_without_pyvips_images_are_read_as_a_whole(
    network: Network, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.png", ImageData(photo))
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with heard() as notes:
        whole, streamed = both(network, tmp_path / "a.png", ".png")
    assert whole.read_bytes() == streamed.read_bytes()
    assert any("is read as a whole" in note and "hkdsr[large]" in note for note in notes)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_damaged_file_leaves_nothing(suffix: str, network: Network, photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(HkdsrError, match="cannot be read"):
        upscale_file(network, path, tmp_path / "large.png", STREAMED)
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_rows_of_an_enlargement_are_those_of_the_whole(scale: int, photo: np.ndarray) -> None:
    whole = imresize(photo[..., 0], scale)
    for top in range(0, len(whole), 37):
        np.testing.assert_array_equal(imresize_rows(photo[..., 0], scale, slice(top, top + 37)), whole[top : top + 37])


def test_a_tile_that_does_not_fit_begins_the_file_anew(
    network: Network, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As memory may run out in the middle of a file."""
    write_image(tmp_path / "a.png", ImageData(photo))
    expected = upscale_file(network, tmp_path / "a.png", tmp_path / "whole.png", replace(QUIET, tile=35))
    given, calls = Strips.__getitem__, []

    def scarce(strips: Strips, part: tuple[slice, slice]) -> np.ndarray:
        calls.append(part)
        if len(calls) == 1 or (len(calls) == 2 and part[0].stop - part[0].start > 45):
            raise MemoryError
        return given(strips, part)

    monkeypatch.setattr(Strips, "__getitem__", scarce)
    with heard() as notes:
        streamed = upscale_file(network, tmp_path / "a.png", tmp_path / "b.png", replace(STREAMED, tile="auto"))
    assert sum("it is tried in tiles" in note for note in notes) == 1
    assert streamed.read_bytes() == expected.read_bytes()
