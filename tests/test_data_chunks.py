"""Whole pixels among damaged notes: what stands beside an image's pixels never makes it unreadable."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import png
import pytest
from hostile import deep, heard, photo, refusal
from PIL import Image

from hkdsr.data import ImageData, read_image, write_image

NOISE = np.random.default_rng(0).bytes(500)
JUNK = {
    "exif of noise": (b"eXIf", bytes(range(7, 200))),
    "empty exif": (b"eXIf", b""),
    "exif with a loop": (b"eXIf", b"II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\0\0\0\0"),
    "short gamma": (b"gAMA", b"\0\1"),
    "gamma of zero": (b"gAMA", bytes(4)),
    "short chromaticities": (b"cHRM", bytes(5)),
    "empty srgb": (b"sRGB", b""),
    "srgb of no meaning": (b"sRGB", b"\xff"),
    "short pixel size": (b"pHYs", b"\0\0"),
    "pixel size of zero": (b"pHYs", bytes(9)),
    "short transparent colour": (b"tRNS", b"\0"),
    "empty transparent colour": (b"tRNS", b""),
    "text of 2 MB": (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 << 20))),
    "international text of 2 MB": (b"iTXt", b"Comment\0\1\0en\0\0" + zlib.compress(b"x" * (2 << 20))),
    "torn text": (b"zTXt", b"Comment\0\0" + zlib.compress(NOISE)[:100]),
    "text of an unknown compression": (b"zTXt", b"Comment\0\7abc"),
    "text without an end": (b"iTXt", b"no end"),
    "profile of 2 MB": (b"iCCP", b"p\0\0" + zlib.compress(bytes(2 << 20))),
    "torn profile": (b"iCCP", b"p\0\0" + zlib.compress(NOISE)[:100]),
    "profile without an end": (b"iCCP", b"no end"),
    "short time": (b"tIME", b"\0"),
    "unknown chunk": (b"juNk", bytes(100)),
    "animation of no frames": (b"acTL", bytes(8)),
    "short animation": (b"acTL", bytes(3)),
}


def encoded(suffix: str, pixels: np.ndarray, **settings: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, suffix, **settings)
    return file.getvalue()


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("depth", [8, 16])
def test_png(name: str, depth: int, tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.png", deep() if depth == 16 else photo()
    write_image(path, ImageData(pixels))
    path.write_bytes(png.with_chunk(path.read_bytes(), *JUNK[name]))
    image = read_image(path)
    np.testing.assert_array_equal(image.colour, pixels)
    assert image.colour.dtype == pixels.dtype


@pytest.mark.parametrize("exif", [b"", b"junk", bytes(range(256)), b"Exif\0\0MM\0*\xff\xff\xff\xff"])
def test_exif_of_webp_and_jpeg(exif: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(png.webp_with_exif(encoded("WEBP", photo(), lossless=True), exif))
    np.testing.assert_array_equal(read_image(path).colour, photo())
    whole = encoded("JPEG", photo())
    (tmp_path / "whole.jpg").write_bytes(whole)
    path = tmp_path / "a.jpg"
    path.write_bytes(png.jpeg_with_segment(whole, 0xE1, b"Exif\0\0" + exif))
    np.testing.assert_array_equal(read_image(path).colour, read_image(tmp_path / "whole.jpg").colour)


@pytest.mark.parametrize(
    ("marker", "added"),
    [
        (0xE2, b"ICC_PROFILE\0\2\3torn"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta"),
        (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\xff"),
        (0xEE, b"Adobe\0"),
        (0xE0, b"JFIF\0"),
        (0xE2, b"MPF\0II*\0\xff\xff\0\0"),
    ],
)
def test_other_segments_of_jpeg(marker: int, added: bytes, tmp_path: Path) -> None:
    whole = encoded("JPEG", photo())
    for name, content in (("whole.jpg", whole), ("a.jpg", png.jpeg_with_segment(whole, marker, added))):
        (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").colour, read_image(tmp_path / "whole.jpg").colour)


def test_a_profile_that_cannot_be_kept_is_said_to_be_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png.with_chunk(encoded("PNG", photo()), *JUNK["torn profile"]))
    with heard() as notes:
        assert read_image(path).profile is None
    assert any("profile" in note and "a.png" in note for note in notes)


def test_a_profile_over_1_mb_is_kept(tmp_path: Path) -> None:
    profile = np.random.default_rng(0).bytes(3 << 19)
    path = tmp_path / "a.png"
    path.write_bytes(png.with_chunk(encoded("PNG", photo()), b"iCCP", b"p\0\0" + zlib.compress(profile)))
    assert read_image(path).profile == profile


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT", b"IEND"])
def test_damage_to_the_image_itself_is_still_refused(name: bytes, tmp_path: Path) -> None:
    parts = png.chunks(encoded("PNG", photo()))
    (tmp_path / "a.png").write_bytes(png.joined([(own, b"\0" if own == name else kept) for own, kept in parts]))
    if name != b"IEND":
        assert "a.png" in refusal(lambda: read_image(tmp_path / "a.png"))
    else:
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").colour, photo())
