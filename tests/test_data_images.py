"""Every kind of image file comes in exactly, goes out whole, and fails with one sentence."""

from __future__ import annotations

import hashlib
import resource
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hkdsr.data import ImageData, list_images, read_image, rgb, write_image
from hkdsr.errors import HkdsrError


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def message(path: Path) -> str:
    with pytest.raises(HkdsrError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_benchmarks_decode_to_the_recorded_pixels(shared: Path) -> None:
    for line in (shared / "benchmarks/PIXELS.sha256").read_text().splitlines()[::13]:
        digest, name, size = line.split()
        pixels = rgb(shared / "benchmarks" / name)
        assert f"{pixels.shape[1]}x{pixels.shape[0]}" == size
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == digest


def test_eight_bit_modes(tmp_path: Path) -> None:
    colour, grey, alpha = noise(5, 7, 3), noise(5, 7, seed=1), noise(5, 7, seed=2)
    for mode, stored in {
        "RGB": colour,
        "RGBA": np.dstack((colour, alpha)),
        "L": grey,
        "LA": np.dstack((grey, alpha)),
    }.items():
        image = read_image(saved(Image.fromarray(stored), tmp_path / f"{mode}.png"))
        assert (image.colour == (grey[..., None] if mode[0] == "L" else colour)).all()
        assert image.colour.shape == (5, 7, 3)
        assert image.colour.flags.writeable
        assert image.grey == (mode[0] == "L")
        if mode[-1] == "A":
            assert image.alpha is not None
            assert (image.alpha == alpha).all()
        else:
            assert image.alpha is None


def test_bilevel_palette_and_cmyk(tmp_path: Path) -> None:
    checks = (np.indices((6, 6)).sum(0) % 2 * 255).astype(np.uint8)
    bilevel = read_image(saved(Image.fromarray(checks).convert("1"), tmp_path / "bilevel.png"))
    assert bilevel.grey
    assert (bilevel.colour == checks[..., None]).all()

    palette = Image.fromarray(checks // 255).convert("P")
    palette.putpalette([250, 20, 30, 1, 2, 3])
    image = read_image(saved(palette, tmp_path / "palette.png"))
    assert not image.grey
    assert image.colour[0, :2].tolist() == [[250, 20, 30], [1, 2, 3]]
    transparent = read_image(saved(palette, tmp_path / "transparent.png", transparency=1))
    assert transparent.alpha is not None
    assert (transparent.alpha == 255 - checks).all()

    cmyk = saved(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), tmp_path / "cmyk.tif")
    assert (rgb(cmyk) == (255, 0, 0)).all()


def test_sixteen_bit_grey_keeps_every_bit(tmp_path: Path) -> None:
    grey = noise(6, 5, dtype=np.uint16)
    for suffix in ("png", "tif"):
        image = read_image(saved(Image.fromarray(grey), tmp_path / f"grey.{suffix}"))
        assert image.grey
        assert image.colour.dtype == np.uint16
        assert (image.colour == grey[..., None]).all()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.booleans(), st.sampled_from([np.uint8, np.uint16]))
def test_png_round_trip(tmp_path: Path, height: int, width: int, grey: bool, has_alpha: bool, dtype: type) -> None:
    colour = noise(height, width, 1 if grey else 3, dtype=dtype)
    alpha = noise(height, width, dtype=dtype, seed=1) if has_alpha else None
    path = tmp_path / "round.png"
    write_image(path, ImageData(np.repeat(colour, 3, axis=2) if grey else colour, alpha, grey, b"profile"))
    image = read_image(path)
    assert image.colour.dtype == dtype
    assert image.colour.shape == (height, width, 3)
    assert (image.colour == colour).all()
    assert (image.grey, image.profile) == (grey, b"profile")
    assert (image.alpha is None) == (alpha is None)
    if image.alpha is not None:
        assert (image.alpha == alpha).all()


@pytest.mark.parametrize(("grey", "key"), [(False, (1, 2, 3)), (True, (7,))])
def test_sixteen_bit_transparent_colour(tmp_path: Path, grey: bool, key: tuple[int, ...]) -> None:
    """A PNG may name one colour as transparent; all its 16 bits must match."""
    colour = np.repeat(noise(4, 4, 1, dtype=np.uint16), 3, axis=2) if grey else noise(4, 4, 3, dtype=np.uint16)
    colour[1, 2] = key
    colour[3, 3] = np.array(key) + 1
    path = tmp_path / "keyed.png"
    write_image(path, ImageData(colour, grey=grey))
    content, named = path.read_bytes(), b"tRNS" + struct.pack(f">{len(key)}H", *key)
    chunk = struct.pack(">I", len(named) - 4) + named + struct.pack(">I", zlib.crc32(named))
    after_header = 8 + 25
    path.write_bytes(content[:after_header] + chunk + content[after_header:])
    image = read_image(path)
    assert (image.colour == colour).all()
    assert image.alpha is not None
    assert np.argwhere(image.alpha == 0).tolist() == [[1, 2]]
    assert image.alpha.max() == 65535


def test_sixteen_bit_colour_of_tiff(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    colour = noise(11, 13, 3, dtype=np.uint16)
    for order, compression in ((">", None), ("<", None), ("<", "zlib")):
        path = tmp_path / "colour.tif"
        tifffile.imwrite(path, colour, photometric="rgb", byteorder=order, compression=compression)
        assert (read_image(path).colour == colour).all()


def test_sixteen_bits_round_to_eight_in_rgb(tmp_path: Path) -> None:
    colour = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    path = saved(Image.fromarray(colour), tmp_path / "ramp.png")
    assert (rgb(path)[..., 0] == np.rint(colour / 257)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_turns_the_image_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = noise(3, 5, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: stored,
        2: np.fliplr(stored),
        3: np.rot90(stored, 2),
        4: np.flipud(stored),
        5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).swapaxes(0, 1),
        8: np.rot90(stored),
    }[orientation]
    path = saved(Image.fromarray(stored), tmp_path / f"turned.{suffix}", exif=exif)
    assert np.array_equal(rgb(path), upright)


def test_one_pixel(tmp_path: Path) -> None:
    for suffix in ("png", "bmp", "webp", "tif", "jpg"):
        path = tmp_path / f"one.{suffix}"
        write_image(path, ImageData(np.full((1, 1, 3), 200, np.uint8)))
        assert rgb(path).tolist() == [[[200, 200, 200]]]


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tif", "tiff", "PNG"])
def test_lossless_formats(tmp_path: Path, suffix: str) -> None:
    colour = noise(6, 5, 3)
    write_image(tmp_path / f"a.{suffix}", ImageData(colour))
    assert (rgb(tmp_path / f"a.{suffix}") == colour).all()


def test_jpeg_is_close(shared: Path, tmp_path: Path) -> None:
    colour = rgb(shared / "benchmarks/Set5/HR/bird.png")
    write_image(tmp_path / "bird.jpg", ImageData(colour))
    error = rgb(tmp_path / "bird.jpg").astype(int) - colour
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 38


def test_unreadable_files(tmp_path: Path) -> None:
    assert "check the path" in message(tmp_path / "missing.png")
    assert "is a folder" in message(tmp_path)
    (tmp_path / "text.png").write_text("this is not an image")
    assert "unknown format" in message(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    assert "give a whole PNG" in message(tmp_path / "empty.png")
    assert "8 or 16 bits" in message(saved(Image.fromarray(np.ones((3, 3), np.float32)), tmp_path / "float.tif"))
    assert "8 or 16 bits" in message(saved(Image.fromarray(np.full((3, 3), 70000, np.int32)), tmp_path / "int.tif"))


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.new("RGB", (30, 30)), tmp_path / "bomb.png")
    monkeypatch.setenv("HKDSR_MAX_PIXELS", "899")
    assert "900 pixels, more than the limit of 899: set the environment variable HKDSR_MAX_PIXELS" in message(path)
    monkeypatch.setenv("HKDSR_MAX_PIXELS", "900")
    assert rgb(path).shape == (30, 30, 3)
    monkeypatch.setenv("HKDSR_MAX_PIXELS", "many")
    with pytest.raises(HkdsrError, match="HKDSR_MAX_PIXELS is 'many': set it to a whole number"):
        read_image(path)


@pytest.mark.parametrize(
    ("suffix", "deep"),
    [("png", True), ("png", False), ("jpg", False), ("webp", False), ("tif", False), ("bmp", False)],
)
def test_truncated_files(tmp_path: Path, suffix: str, deep: bool) -> None:
    whole = tmp_path / f"whole.{suffix}"
    write_image(whole, ImageData(noise(40, 40, 3, dtype=np.uint16 if deep else np.uint8)))
    content = whole.read_bytes()
    for kept in (10, 40, len(content) // 3, len(content) * 3 // 4):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(content[:kept])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message(cut)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(["png", "jpg", "webp", "tif", "bmp"]))
    path = tmp_path / f"damaged.{suffix}"
    deep = suffix == "png" and data.draw(st.booleans())
    write_image(path, ImageData(noise(12, 12, 3, dtype=np.uint16 if deep else np.uint8)))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = read_image(path)
        except HkdsrError:
            return
    assert image.colour.shape[2] == 3


@pytest.mark.parametrize(
    ("name", "image", "says"),
    [
        ("a.txt", ImageData(np.zeros((2, 2, 3), np.uint8)), "suffix"),
        ("a", ImageData(np.zeros((2, 2, 3), np.uint8)), "suffix"),
        ("a.jpg", ImageData(np.zeros((2, 2, 3), np.uint16)), "16 bits"),
        ("a.tif", ImageData(np.zeros((2, 2, 3), np.uint16)), "16 bits"),
        ("a.jpg", ImageData(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)), "transparency"),
        ("a.webp", ImageData(np.zeros((1, 20000, 3), np.uint8)), "20000x1 pixels"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, name: str, image: ImageData, says: str) -> None:
    with pytest.raises(HkdsrError, match=says):
        write_image(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files may not grow beyond 4 kB; the system refuses the write as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_full_disk_leaves_the_old_file(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "a.png"
    write_image(path, ImageData(noise(4, 4, 3)))
    before = path.read_bytes()
    with pytest.raises(HkdsrError, match="cannot write"):
        write_image(path, ImageData(noise(100, 100, 3, dtype=dtype)))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_list_images(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.webp", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.JPG", "b.png", "c.webp"]
    with pytest.raises(HkdsrError, match="has no images"):
        list_images(tmp_path / "folder.png")
    with pytest.raises(HkdsrError, match="no folder"):
        list_images(tmp_path / "missing")
    with pytest.raises(HkdsrError, match="no folder"):
        list_images(tmp_path / "b.png")
