"""Images that are not one plain image: several frames, clear edges, notes to keep, sizes past limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import png
import pytest
import tiny
import torch
from hostile import deep, heard, images, photo, refusal
from PIL import ExifTags, Image, ImageCms

import hkdsr
from hkdsr.data import ImageData, read_image, write_image
from hkdsr.deploy.upscale_files import upscale_file

ANIMATIONS = ("a.gif", "a.png", "a.webp", "a.tif")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'


@pytest.mark.parametrize("name", ANIMATIONS)
def test_of_several_images_in_a_file_the_first_is_taken_and_that_is_said(name: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(photo(), 4 * index, axis=1)) for index in range(3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    with heard() as notes:
        upscale_file(tiny.nearest(2), tmp_path / name, tmp_path / "large.png", handling=tiny.QUIET)
    said = [note for note in notes if name in note]
    assert len(said) == 1
    assert "3" in said[0].replace(str(tmp_path), "")
    assert "first" in said[0]


@pytest.mark.parametrize("name", ANIMATIONS)
def test_one_image_in_a_file_is_nothing_to_be_said(name: str, tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / name)
    with heard() as notes:
        upscale_file(tiny.nearest(2), tmp_path / name, tmp_path / "large.png", handling=tiny.QUIET)
    assert notes == []


def test_two_sources_of_one_target_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    Image.fromarray(deep()[..., 0]).save(source / "a.tif")  # its 16 bits take the name a.tif.png
    write_image(source / "a.tif.png", ImageData(photo()))
    write_image(source / "0.png", ImageData(photo()))
    sentence = refusal(lambda: upscale_file(tiny.nearest(2), source, tmp_path / "out", handling=tiny.QUIET))
    assert "a.tif.png" in sentence
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("kind", ["file", "array", "grey"])
def test_hidden_colours_do_not_reach_the_rim(kind: str, level: int, tmp_path: Path) -> None:
    network = hkdsr.load("small_x2")
    clear = np.broadcast_to(np.arange(40) < 20, (32, 40))
    colour = np.where(clear[..., None], np.uint8(level), photo(32, 40))
    colour = colour.mean(axis=2, keepdims=True).round().astype(np.uint8).repeat(3, 2) if kind == "grey" else colour
    plain = colour.copy()
    plain[clear] = np.repeat(colour[:, 20:21], 40, axis=1)[clear]  # what lies nearest to each hidden pixel
    alpha = np.where(clear, 0, 255).astype(np.uint8)
    if kind == "array":
        large = hkdsr.upscale(network, np.dstack((colour, alpha)))
        enlarged, seen = large[..., :3], large[..., 3] > 0
    else:
        write_image(tmp_path / "a.png", ImageData(colour, alpha=alpha, grey=kind == "grey"))
        upscale_file(network, tmp_path / "a.png", tmp_path / "b.png", handling=tiny.QUIET)
        image = read_image(tmp_path / "b.png")
        assert image.alpha is not None
        enlarged, seen = image.colour, image.alpha > 0
    wanted = hkdsr.upscale(network, plain)
    assert np.abs(enlarged.astype(int) - wanted)[seen].max() <= 12


def test_a_wholly_clear_image_is_upscaled(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", ImageData(photo(), alpha=np.zeros((24, 30), np.uint8)))
    upscale_file(tiny.nearest(2), tmp_path / "a.png", tmp_path / "b.png", handling=tiny.QUIET)
    image = read_image(tmp_path / "b.png")
    assert image.alpha is not None
    assert not image.alpha.any()


def test_what_stands_beside_the_pixels_is_kept_or_said_to_be_lost(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ada"
    exif[ExifTags.Base.Orientation] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    settings = {"dpi": (300, 300), "exif": exif, "icc_profile": profile, "xmp": XMP, "quality": 95}
    for source, target in (("a.jpg", "b.png"), ("a.jpg", "b.jpg"), ("a.webp", "b.webp"), ("a.tif", "b.tif")):
        Image.fromarray(photo()).save(tmp_path / source, **settings)
        with heard() as notes:
            upscale_file(tiny.nearest(2), tmp_path / source, tmp_path / target, handling=tiny.QUIET)
        said = " ".join(notes)
        with Image.open(tmp_path / target) as large:
            large.load()
            assert large.size == (48, 60), "turned upright"
            own = large.getexif()
            assert own.get(ExifTags.Base.Orientation, 1) == 1
            assert own.get(ExifTags.Base.Artist) == "Ada" or "EXIF" in said, target
            dots = large.info.get("dpi", (0, 0))[0]
            assert abs(dots - 300) < 1 or "dpi" in said or source == "a.webp", target
            if source != "a.tif":  # Pillow writes no XMP there
                assert large.info.get("xmp") == XMP or "XMP" in said, target
            assert large.info.get("icc_profile") == profile


def test_gamma_is_kept_or_said_to_be_lost(tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / "a.png")
    for depth, pixels in ((8, photo()), (16, deep())):
        write_image(tmp_path / "a.png", ImageData(pixels))
        (tmp_path / "a.png").write_bytes(png.with_chunk((tmp_path / "a.png").read_bytes(), b"gAMA", b"\0\1\x86\xa0"))
        with heard() as notes:
            upscale_file(tiny.nearest(2), tmp_path / "a.png", tmp_path / "b.png", handling=tiny.QUIET)
        kept = dict(png.chunks((tmp_path / "b.png").read_bytes())).get(b"gAMA") == b"\0\1\x86\xa0"
        assert kept or any("gamma" in note.lower() for note in notes), depth


def test_a_cmyk_profile_that_is_not_used_is_said_to_be_lost(tmp_path: Path) -> None:
    profile = bytes(16) + b"CMYKLab " + bytes(104)
    Image.fromarray(photo()).convert("CMYK").save(tmp_path / "a.jpg", icc_profile=profile)
    with heard() as notes:
        upscale_file(tiny.nearest(2), tmp_path / "a.jpg", tmp_path / "b.png", handling=tiny.QUIET)
    assert any("a.jpg" in note and "CMYK" in note and "profile" in note for note in notes)


def test_an_own_result_past_pillows_limit_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", ImageData(photo(40, 60)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # for Pillow this image is what 192 megapixels are
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").colour, photo(40, 60))


def test_a_header_that_promises_what_the_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    whole = images(tmp_path, "a.png") / "a.png"
    parts = png.chunks(whole.read_bytes())
    header = (60_000).to_bytes(4, "big") * 2 + parts[0][1][8:]
    whole.write_bytes(png.joined([(b"IHDR", header), *parts[1:]]))
    assert "a.png" in refusal(lambda: read_image(whole))


def test_a_network_by_its_name_or_file_and_images_of_every_kind(tmp_path: Path) -> None:
    network = tiny.nearest(2)
    hkdsr.save(network, tmp_path / "nearest.safetensors")
    write_image(tmp_path / "a.png", ImageData(photo()))
    wanted = photo().repeat(2, 0).repeat(2, 1)
    for given in (network, tmp_path / "nearest.safetensors", str(tmp_path / "nearest.safetensors")):
        np.testing.assert_array_equal(hkdsr.upscale(given, photo()), wanted)
    assert hkdsr.upscale("small_x2", photo()).shape == wanted.shape
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(hkdsr.upscale(network, path), wanted)
    from_pillow = hkdsr.upscale(network, Image.fromarray(photo()))
    assert isinstance(from_pillow, Image.Image)
    np.testing.assert_array_equal(np.asarray(from_pillow), wanted)
    for kind in (np.float32, np.float64):
        large = hkdsr.upscale(network, (photo() / 255).astype(kind))
        assert large.dtype == kind
        np.testing.assert_allclose(large, wanted / 255, atol=1e-6)


NO_IMAGES = {
    "nothing": None,
    "number": 3,
    "list": [[1, 2]],
    "bytes": b"png",
    "object": object(),
    "missing file": "absent.png",
    "five channels": np.zeros((4, 4, 5), np.uint8),
    "integers": np.zeros((4, 4), np.int64),
    "floats up to 255": np.full((4, 4, 3), 255.0),
    "floats that are no numbers": np.full((4, 4, 3), np.nan),
    "no pixels": np.zeros((0, 4, 3), np.uint8),
    "text": np.array(["a"]),
    "tensor": torch.zeros(1, 3, 4, 4),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_anything_else_gets_a_sentence(name: str) -> None:
    refusal(lambda: hkdsr.upscale(tiny.nearest(2), NO_IMAGES[name]))  # pyright: ignore
    refusal(lambda: hkdsr.upscale(NO_IMAGES[name], photo()))  # pyright: ignore
