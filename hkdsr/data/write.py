"""Images to files: whole or not at all, with all that the format can hold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from hkdsr.data.decode import CODEC_ERRORS
from hkdsr.data.images import SUFFIXES, ImageData
from hkdsr.data.png_writer import PngWriter
from hkdsr.data.tiff_writer import TiffWriter
from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically, written_atomically
from hkdsr.memory import needed_for

logger = logging.getLogger(__name__)

# The longest side that a file can have, by the formats' libraries.
LONGEST = {".webp": 16383, ".jpeg": 65500, ".jpg": 65500}
JPEG = (".jpeg", ".jpg")
# What each format keeps beside the pixels.
KEPT = {
    ".png": {"exif", "xmp", "dpi", "gamma"},
    ".jpeg": {"exif", "xmp", "dpi"},
    ".jpg": {"exif", "xmp", "dpi"},
    ".webp": {"exif", "xmp"},
    ".tif": {"exif", "dpi"},
    ".tiff": {"exif", "dpi"},
    ".bmp": {"dpi"},
}
BY_LINES = {
    ".png": (PngWriter, KEPT[".png"]),
    ".tif": (TiffWriter, {"xmp", "dpi"}),
    ".tiff": (TiffWriter, {"xmp", "dpi"}),
}
"""What writes a format line by line, and what it keeps beside the pixels."""
NAMES = {"exif": "EXIF", "xmp": "XMP", "dpi": "dpi", "gamma": "gamma"}


class LineWriter(Protocol):
    """Writes an image from the top downwards."""

    def write(self, lines: np.ndarray) -> None:
        """Add lines (n, W, C)."""
        ...

    def close(self) -> None:
        """End the file."""
        ...


def write_image(path: str | Path, image: ImageData) -> None:
    """Write an image in the format of the path's suffix; the file appears whole or not at all.

    JPEG is written at quality 95 with full colour resolution, WebP lossless. A grey image is stored in one channel, the
    mean of its three. Notes that the format has no place for are lost, which is logged as a warning.

    Raises HkdsrError for another suffix, for alpha or 16 bits (PNG only) where the format has no room for them, and if
    writing fails.
    """
    path = Path(path)
    check_target(path, image)
    suffix = path.suffix.lower()
    planes = [image.colour]
    if image.grey:
        planes = [np.rint(image.colour.mean(axis=2, keepdims=True)).astype(image.colour.dtype)]
    if image.alpha is not None:
        planes.append(image.alpha[..., None])
    with needed_for(str(path), "cut the image into smaller ones, or free memory"):
        pixels = np.concatenate(planes, axis=2)
        if suffix == ".png":
            with lines_written(path, image) as begin:
                begin().write(pixels)
            return
        try:
            encoded = _encoded(pixels, image, suffix)
        except CODEC_ERRORS as error:
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise HkdsrError(f"{path} cannot hold an image of {size} pixels: name it .png or .tif") from error
        write_atomically(path, encoded)
    _report_lost(path, image, KEPT[suffix])


@contextmanager
def lines_written(path: Path, image: ImageData) -> Iterator[Callable[[], LineWriter]]:
    """Write an image line by line: inside, a function that begins the file, or begins it anew, gives the writer.

    The suffix of ``path`` is one of ``BY_LINES``. ``image`` is as in ``write_image``, except that nothing is asked of
    its ``colour`` but shape and type. Lines have as many channels as the file: grey or RGB, and alpha. The file
    appears, whole, at the end. EXIF is lost in TIFF files, which is logged.

    Raises HkdsrError as ``write_image`` does.
    """
    check_target(path, image)
    kind, kept = BY_LINES[path.suffix.lower()]
    channels = (1 if image.grey else 3) + (image.alpha is not None)
    writers: list[LineWriter] = []
    with written_atomically(path) as file:

        def begin() -> LineWriter:
            file.seek(0)
            file.truncate()
            shape = (*image.colour.shape[:2], channels)
            writers[:] = [kind(file, shape, image.colour.dtype, image.profile, image.notes)]
            return writers[0]

        yield begin
        writers[0].close()
    _report_lost(path, image, kept)


def check_target(path: Path, image: ImageData) -> None:
    """Raises HkdsrError, as ``write_image`` would, if a file of this suffix cannot hold what ``image`` has."""
    if path.suffix.lower() not in SUFFIXES:
        raise HkdsrError(f"{path} does not have the suffix of an image: name it with one of {', '.join(SUFFIXES)}")
    if lacking := _lacking(path, image):
        raise HkdsrError(f"{path} cannot hold {lacking}: name it .png")


def holds(path: Path, image: ImageData) -> bool:
    """Whether a file of the image suffix of ``path`` can hold ``image``: its size, depth and transparency."""
    return not _lacking(path, image)


def _lacking(path: Path, image: ImageData) -> str | None:
    suffix = path.suffix.lower()
    if image.colour.dtype == np.uint16 and suffix != ".png":
        return "16 bits per channel"
    if image.alpha is not None and suffix in (".bmp", *JPEG):
        return "transparency"
    height, width = image.colour.shape[:2]
    if max(height, width) > LONGEST.get(suffix, max(height, width)):
        return f"{width}x{height} pixels"
    return None


def _report_lost(path: Path, image: ImageData, kept: set[str]) -> None:
    lost = [NAMES[name] for name, value in vars(image.notes).items() if value is not None and name not in kept]
    lost += ["its colour profile"] if image.profile and path.suffix.lower() == ".bmp" else []
    if lost:
        logger.warning("%s cannot hold %s, which are lost: name it .png to keep them", path, ", ".join(lost))


def _encoded(pixels: np.ndarray, image: ImageData, suffix: str) -> bytes:
    encoder = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    file, notes = BytesIO(), image.notes
    settings = {name: value for name, value in vars(notes).items() if value is not None and name in KEPT[suffix]}
    if suffix in JPEG:
        encoder.save(file, "JPEG", quality=95, subsampling=0, icc_profile=image.profile, **settings)
    elif suffix == ".webp":
        encoder.save(file, "WEBP", lossless=True, exact=True, icc_profile=image.profile, **settings)
    else:
        encoder.save(file, Image.registered_extensions()[suffix], icc_profile=image.profile, **settings)
    return file.getvalue()
