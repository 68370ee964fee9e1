"""Images of every kind, damaged chunk by chunk, tag by tag or segment by segment, and then upscaled."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from hkdsr.data import read_image
from hkdsr.deploy.enlarge_file import Handling
from hkdsr.deploy.upscale_files import upscale_file
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import build
from tools.fuzz import containers
from tools.fuzz.bytewise import damaged, pick

HEIGHT, WIDTH = 21, 34
PNG_END = b"IEND\xae\x42\x60\x82"
FORMATS = ("png", "png", "png", "jpg", "jpg", "webp", "webp", "tif", "tif", "tif", "bmp", "gif")
MODES = {
    "png": ("RGB", "L", "RGBA", "LA", "P", "1", "I;16"),
    "jpg": ("RGB", "L", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "bmp": ("RGB", "L", "P", "1"),
    "gif": ("P", "L"),
}
TIFF: tuple[dict[str, Any], ...] = (
    {"photometric": "rgb"},
    {"photometric": "rgb", "planarconfig": "separate"},
    {"photometric": "rgb", "tile": (16, 16), "compression": "zlib", "predictor": True},
    {"photometric": "rgb", "rowsperstrip": 5, "byteorder": ">"},
    {"photometric": "rgb", "compression": "lzw", "bigtiff": True},
    {"photometric": "rgb", "compression": "jpeg"},
    {"photometric": "minisblack"},
    {"photometric": "miniswhite"},
)
LOADED: dict[str, Network] = {}


def make(random: np.random.Generator, folder: Path) -> Path:
    """Write one damaged image."""
    suffix = FORMATS[pick(random, len(FORMATS))]
    content = _tiff(random) if suffix == "tif" else _by_pillow(suffix, random)
    for _ in range(1 + pick(random, 3)):
        structured = containers.DAMAGE.get(suffix) if random.random() < 0.75 else None
        content = (structured or damaged)(content, random)
    path = folder / f"image.{suffix}"
    path.write_bytes(content)
    return path


def use(path: Path, folder: Path) -> None:
    """Upscale it; the result is whole and of twice its size."""
    if not LOADED:
        LOADED["network"] = build("compact:features=4,convs=1", 2).eval()
    target = upscale_file(LOADED["network"], path, folder / "large.png", Handling(progress=False))
    height, width = read_image(path).colour.shape[:2]
    # Not decoded, as an image of four times the pixels may be too large for the memory that a case has.
    content = target.read_bytes()
    if struct.unpack_from(">II", content, 16) != (2 * width, 2 * height) or not content.endswith(PNG_END):
        raise AssertionError(f"the result is not a whole image of twice {width}x{height}")


def _scene(random: np.random.Generator, channels: int) -> np.ndarray:
    """A smooth scene with some noise, uint8 (HEIGHT, WIDTH, channels)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    waves = [rows * random.uniform(2, 9) + columns * random.uniform(2, 6) for _ in range(channels)]
    return (np.stack(waves, axis=2) + random.integers(0, 9, (HEIGHT, WIDTH, channels))).astype(np.uint8)


def _by_pillow(suffix: str, random: np.random.Generator) -> bytes:
    mode = str(random.choice(MODES[suffix]))
    image = Image.fromarray(_scene(random, 3))
    if mode == "I;16":
        image = Image.fromarray(_scene(random, 1)[..., 0].astype(np.uint16) * 257)
    elif mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(_scene(random, 1)[..., 0]))
        image = image.convert(mode)
    else:
        image = image.convert(mode)
    exif = Image.Exif()
    exif[274] = 1 + pick(random, 8)
    several = suffix in ("gif", "webp", "png") and random.random() < 0.2
    more: dict[str, Any] = (
        {"save_all": True, "append_images": [image.transpose(Image.Transpose.ROTATE_180)]} if several else {}
    )
    file = io.BytesIO()
    kind = Image.registered_extensions()[f".{suffix}"]
    image.save(file, kind, exif=exif, dpi=(72, 72), progressive=bool(pick(random, 2)), **more)
    return file.getvalue()


def _tiff(random: np.random.Generator) -> bytes:
    settings = dict(TIFF[pick(random, len(TIFF))])
    channels = 3 if settings["photometric"] == "rgb" else 1
    if channels == 3 and "compression" not in settings and random.random() < 0.4:
        channels, settings["extrasamples"] = 4, [str(random.choice(["unassalpha", "assocalpha", "unspecified"]))]
    pixels = _scene(random, channels)
    if settings.get("compression") != "jpeg" and random.random() < 0.5:
        pixels = pixels.astype(np.uint16) * 256 + 9
    pixels = pixels[..., 0] if channels == 1 else pixels
    if settings.get("planarconfig") == "separate":
        pixels = pixels.transpose(2, 0, 1).copy()
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **settings)
    return file.getvalue()
