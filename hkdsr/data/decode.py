"""Pixels of the images that Pillow opens, with all their bits."""

from __future__ import annotations

import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from hkdsr.errors import HkdsrError

# What Pillow raises on files that are damaged, too large for their format, or no images at all.
CODEC_ERRORS = (
    *(AssertionError, OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError),
    *(struct.error, zlib.error),
)

# Pillow decodes 16-bit colour to its high bytes. The same decoder, told the other byte order, gives the low bytes.
OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}

_limit = threading.Lock()
ANY_SIZE = 2**62


@contextmanager
def opened(source: Path | bytes, name: Path, limit: int) -> Iterator[ImageFile.ImageFile]:
    """A file or its content, opened by Pillow whatever Pillow's own limit is.

    Raises HkdsrError, naming ``name``, for more than ``limit`` pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _open(BytesIO(source) if isinstance(source, bytes) else source)
        with image:
            require_pixels(name, image.width * image.height, limit)
            yield image


def header_size(path: Path) -> tuple[int, int] | None:
    """Width and height by the header of an image file, however many pixels that are; None where it cannot be read."""
    try:
        with opened(path, path, ANY_SIZE) as image:
            return image.size
    except CODEC_ERRORS:
        return None


def require_size(path: Path, largest: int, remedy: str) -> None:
    """Raises HkdsrError, which ends with the ``remedy``, if an image has more pixels by its header; decodes nothing."""
    size = header_size(path)
    if size is not None and size[0] * size[1] > largest:
        raise HkdsrError(
            f"{path.name} has {size[0] * size[1]:,} pixels, more than the {largest:,} that are taken: {remedy}"
        )


def require_pixels(name: Path, count: int, limit: int) -> None:
    """Raises HkdsrError if an image has more pixels than ``limit``."""
    if count > limit:
        raise HkdsrError(
            f"{name} has {count:,} pixels, more than the limit of {limit:,}: set the environment variable "
            "HKDSR_MAX_PIXELS higher"
        )


def pixels_of(path: Path, source: Path | bytes, image: ImageFile.ImageFile, limit: int) -> np.ndarray:
    """(H, W, 1..4): grey, grey and alpha, RGB or RGBA; uint8, or uint16 where the file has 16 bits.

    Raises HkdsrError for 32-bit values.
    """
    deep = _deep_colour(path, source, image, limit)
    return _pixels(path, image) if deep is None else deep


def _open(source: Path | BytesIO) -> ImageFile.ImageFile:
    # Pillow's limit is one for the whole process and is checked on opening alone.
    with _limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _pixels(path: Path, image: ImageFile.ImageFile) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        # Some 16-bit files come as mode I, of 32 bits.
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise HkdsrError(f"{path} has 32-bit values, which are not supported: save it with 8 or 16 bits")
        return _keyed(values.astype(np.uint16)[..., None], image)
    grey = image.mode in ("1", "L", "LA", "La")
    modes = ("L", "LA") if grey else ("RGB", "RGBA")
    # A copy, for tensors cannot share the read-only memory of Pillow.
    pixels = np.array(image.convert(modes[image.has_transparency_data]))
    return pixels.reshape(*pixels.shape[:2], -1)


def _deep_colour(path: Path, source: Path | bytes, image: ImageFile.ImageFile, limit: int) -> np.ndarray | None:
    """(H, W, 2..4) uint16 of 16-bit files in colour or with alpha; None for all other images."""
    rawmodes = {tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0]) for tile in image.tile}
    mode, _, order = rawmodes.pop().partition(";") if len(rawmodes) == 1 else ("", "", "")
    if (mode, order) == ("LA", "16B"):
        # Its four bytes per pixel pass as four channels.
        return _decoded_as(image, "RGBA").view(">u2").astype(np.uint16)
    if mode not in ("RGB", "RGBA") or order not in OTHER_ORDER:
        return None
    with opened(source, path, limit) as again:
        low = _decoded_as(again, f"{mode};{OTHER_ORDER[order]}")
    return _keyed(_decoded_as(image, f"{mode};{order}").astype(np.uint16) << 8 | low, image)


def _decoded_as(image: ImageFile.ImageFile, rawmode: str) -> np.ndarray:
    image.tile = [
        tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *(tile.args or ())[1:]))
        for tile in image.tile
    ]
    return np.array(image)


def _keyed(pixels: np.ndarray, image: ImageFile.ImageFile) -> np.ndarray:
    """16-bit pixels with the alpha that a PNG's transparent colour stands for."""
    key = image.info.get("transparency")
    if key is None or pixels.shape[2] not in (1, 3):
        return pixels
    opaque = (pixels != np.asarray(key)).any(axis=2, keepdims=True)
    return np.concatenate((pixels, opaque * np.uint16(65535)), axis=2)
