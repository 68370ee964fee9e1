"""TIFF in all its layouts: the pixels are exactly those that were written, or the layout is named and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hostile import deep, photo, refusal, refusal_or_none
from PIL import Image

from hkdsr.data import read_image, rgb, write_image

LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16)},
    "deflate": {"compression": "zlib", "predictor": True},
    "lzw": {"compression": "lzw"},
    "zstd": {"compression": "zstd"},
    "big-endian": {"byteorder": ">"},
    "big-endian tiles of deflate": {"byteorder": ">", "tile": (16, 16), "compression": "zlib", "predictor": True},
    "bigtiff": {"bigtiff": True},
}


def save(path: Path, pixels: np.ndarray, planar: bool = False, **settings: Any) -> Path:
    if planar:
        settings["planarconfig"] = "separate"
        pixels = pixels.transpose(2, 0, 1).copy()
    tifffile.imwrite(path, pixels, metadata=None, **settings)
    return path


@pytest.mark.parametrize("planar", [False, True], ids=["chunky", "planar"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_16_bit_rgb(layout: str, planar: bool, tmp_path: Path) -> None:
    pixels = deep()
    path = save(tmp_path / "a.tif", pixels, planar, photometric="rgb", **LAYOUTS[layout])
    image = read_image(path)
    assert image.colour.dtype == np.uint16
    np.testing.assert_array_equal(image.colour, pixels)
    assert image.alpha is None


@pytest.mark.parametrize("planar", [False, True], ids=["chunky", "planar"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_16_bit_rgb_with_alpha(layout: str, planar: bool, tmp_path: Path) -> None:
    pixels = deep(channels=4)
    settings = {"photometric": "rgb", "extrasamples": ["unassalpha"], **LAYOUTS[layout]}
    image = read_image(save(tmp_path / "a.tif", pixels, planar, **settings))
    np.testing.assert_array_equal(image.colour, pixels[..., :3])
    assert image.alpha is not None
    np.testing.assert_array_equal(image.alpha, pixels[..., 3])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("deep_pixels", [False, True], ids=["8", "16"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey(photometric: str, deep_pixels: bool, layout: str, tmp_path: Path) -> None:
    pixels = (deep() if deep_pixels else photo())[..., 0]
    stored = np.iinfo(pixels.dtype).max - pixels if photometric == "miniswhite" else pixels
    image = read_image(save(tmp_path / "a.tif", stored, photometric=photometric, **LAYOUTS[layout]))
    assert image.grey
    assert image.colour.dtype == pixels.dtype
    np.testing.assert_array_equal(image.colour, np.repeat(pixels[..., None], 3, axis=2))


@pytest.mark.parametrize("layout", ["plain", "strips", "tiles", "deflate", "big-endian"])
@pytest.mark.parametrize("planar", [False, True], ids=["chunky", "planar"])
def test_8_bit_rgb(layout: str, planar: bool, tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", photo(), planar, photometric="rgb", **LAYOUTS[layout])
    np.testing.assert_array_equal(read_image(path).colour, photo())


def test_16_bit_grey_with_alpha(tmp_path: Path) -> None:
    pixels = deep(channels=2)
    image = read_image(save(tmp_path / "a.tif", pixels, photometric="minisblack", extrasamples=["unassalpha"]))
    assert image.grey
    assert image.alpha is not None
    np.testing.assert_array_equal(np.dstack((image.colour[..., 0], image.alpha)), pixels)


@pytest.mark.parametrize("planar", [False, True], ids=["chunky", "planar"])
def test_16_bit_associated_alpha_is_divided_out(planar: bool, tmp_path: Path) -> None:
    pixels = deep(channels=4)
    pixels[..., 3] |= 0x8000
    stored = pixels.copy()
    stored[..., :3] = np.rint(pixels[..., :3] / 65535 * pixels[..., 3:])
    path = save(tmp_path / "a.tif", stored, planar, photometric="rgb", extrasamples=["assocalpha"])
    image = read_image(path)
    assert image.alpha is not None
    np.testing.assert_array_equal(image.alpha, pixels[..., 3])
    assert np.abs(image.colour.astype(int) - pixels[..., :3]).max() <= 1  # rounded twice, from above half of the range


def test_a_16_bit_channel_of_no_meaning_is_left_out(tmp_path: Path) -> None:
    pixels = deep(channels=4)
    image = read_image(save(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unspecified"]))
    np.testing.assert_array_equal(image.colour, pixels[..., :3])
    assert image.alpha is None


def test_a_turned_16_bit_image_is_upright(tmp_path: Path) -> None:
    pixels = deep()
    turned = [(274, "H", 1, 6, True)]  # 6: turn by 90 degrees clockwise to see it upright
    path = save(tmp_path / "a.tif", pixels, True, photometric="rgb", extratags=turned)
    np.testing.assert_array_equal(read_image(path).colour, np.rot90(pixels, -1))


def test_jpeg_inside_tiff(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", photo(32, 32), photometric="rgb", compression="jpeg")
    assert np.abs(rgb(path).astype(int) - photo(32, 32)).mean() < 3


UNSUPPORTED: dict[str, tuple[np.ndarray, dict[str, Any], str]] = {
    "32-bit": (deep().astype(np.float32) / 65535, {"photometric": "rgb"}, "32-bit"),
    "64-bit": (deep().astype(np.float64), {"photometric": "rgb"}, "64-bit"),
    "32-bit planar": (deep().astype(np.uint32), {"photometric": "rgb", "planar": True}, "32-bit"),
    "signed": (deep()[..., 0].astype(np.int16), {"photometric": "minisblack"}, "signed"),
    "five samples": (deep(channels=5), {"photometric": "minisblack", "planarconfig": "contig"}, "5 "),
    "complex": (photo()[..., 0].astype(np.complex64), {"photometric": "minisblack"}, "complex"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_refused_by_the_name_of_its_layout(name: str, tmp_path: Path) -> None:
    pixels, settings, word = UNSUPPORTED[name]
    path = save(tmp_path / "a.tif", pixels, **settings)
    sentence = refusal(lambda: read_image(path))
    assert word in sentence.replace(str(path), "")
    assert "damaged" not in sentence


@pytest.mark.parametrize("planar", [False, True], ids=["chunky", "planar"])
def test_16_bit_cmyk_keeps_16_bits_or_is_refused_by_name(planar: bool, tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", deep(channels=4), planar, photometric="separated")
    sentence = refusal_or_none(lambda: read_image(path))
    if sentence is None:
        assert read_image(path).colour.dtype == np.uint16
    else:
        assert "CMYK" in sentence
        assert "damaged" not in sentence


@pytest.mark.parametrize("compression", ["zstd", "lzma", "jpegxl", "png", "jpeg2000", "webp", "packbits"])
def test_compressions_are_read_or_named(compression: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", photo(32, 32), photometric="rgb", compression=compression)
    sentence = refusal_or_none(lambda: rgb(path))
    if sentence is None:
        assert np.abs(rgb(path).astype(int) - photo(32, 32)).mean() < 3
    else:
        assert "compress" in sentence
        assert "damaged" not in sentence


def test_a_cut_tiff_is_called_damaged(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", deep(), True, photometric="rgb", compression="zlib")
    whole = path.read_bytes()
    for length in (len(whole) // 4, len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:length])
        assert "damaged" in refusal(lambda: read_image(path))


def test_the_exif_of_a_bigtiff_file_is_kept_readable(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", deep(), photometric="rgb", bigtiff=True, metadata=None, software="a camera")
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.tif"))
    with Image.open(tmp_path / "b.png") as image:
        assert image.getexif().get(305) == "a camera"


def test_a_volume_is_refused_by_its_depth(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([deep()[..., 0]] * 5), photometric="minisblack", volumetric=True)
    assert "5 planes of depth" in refusal(lambda: read_image(tmp_path / "a.tif"))


def test_an_impossible_resolution_is_passed_over(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", deep(), photometric="rgb", resolution=(4e9, 4e9), resolutionunit=2)
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.tif"))
    assert read_image(tmp_path / "b.png").notes.dpi is None
