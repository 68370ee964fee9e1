"""Image files read by strips, so that memory holds some lines of them: PNG, JPEG and TIFF of plain layouts, by libvips.

What has alpha, or a layout in which libvips and ``read_image`` might differ, is not read here but as a whole. libvips
reads files that are stored upside down or on their side into a temporary file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from hkdsr.data import png
from hkdsr.data.decode import CODEC_ERRORS, opened, require_pixels
from hkdsr.data.images import JPEG_START, STARTS_READ, TIFF_STARTS, ImageData, frames_of, tiff_notes, with_exif
from hkdsr.data.notes import pillow_notes, pixel_limit, read_exif
from hkdsr.data.tiff import describe_plain
from hkdsr.errors import HkdsrError

logger = logging.getLogger(__name__)

TYPES = {"uchar": np.uint8, "ushort": np.uint16}
GREY, PALETTE, RGB = 0, 3, 2
"""Colour types of PNG without alpha."""
NO_PIXELS = np.empty((0, 0, 3), np.uint8)


class Strips:
    """The colours of an image file, upright, read from the top downwards: indexed by rows and columns like an array.

    ``shape`` is (H, W) for grey, else (H, W, 3). Lines above those that were asked for last are read anew from the
    start. Raises HkdsrError, naming the file, where it is damaged.
    """

    def __init__(self, path: Path, open_file: Callable[[], Any], vips: ModuleType) -> None:
        self._path, self._open, self._vips = path, open_file, vips
        image = open_file()
        self.dtype = np.dtype(TYPES[image.format])
        self.shape = (image.height, image.width, 3) if image.bands == 3 else (image.height, image.width)
        self._restart(image)

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        rows, columns = part
        if rows.start < self._top:
            self._restart(self._open())
        kept = self._lines[rows.start - self._top :]
        missing = slice(rows.start + len(kept), rows.stop)
        if missing.stop > missing.start:
            self._lines = np.concatenate((kept, self._fetched(missing)))
            self._top = rows.start
        start = rows.start - self._top
        return self._lines[start : start + rows.stop - rows.start, columns]

    def _restart(self, image: Any) -> None:
        self._region = self._vips.Region.new(image)
        self._top, self._lines = 0, np.empty((0, *self.shape[1:]), self.dtype)

    def _fetched(self, rows: slice) -> np.ndarray:
        count = rows.stop - rows.start
        try:
            content = self._region.fetch(0, rows.start, self.shape[1], count)
        except self._vips.Error as error:
            raise HkdsrError(
                f"{self._path} cannot be read to its end (damaged): give a whole PNG, JPEG or TIFF file"
            ) from error
        return np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


def open_strips(path: Path, smallest: float) -> tuple[ImageData, Strips] | None:
    """What an image file has, and its colours by strips; None where it is to be read as a whole, or pyvips is missing.

    Files of fewer pixels than ``smallest`` are to be read as a whole too. The image's ``colour`` is a stand-in of the
    right shape (H, W, 3) and type that takes no memory. Raises HkdsrError for more pixels than the limit.
    """
    try:
        found = _plain(path)
    except CODEC_ERRORS:
        return None  # read_image says what is wrong
    if found is None or found.pixels < smallest or (vips := _pyvips()) is None:
        return None
    require_pixels(path, found.pixels, pixel_limit())
    try:
        strips = Strips(path, lambda: _upright(vips, path, found), vips)
    except (vips.Error, KeyError):
        logger.info("%s is read as a whole, as libvips does not know its layout", path)
        return None
    colour = np.broadcast_to(np.zeros((), strips.dtype), (*strips.shape[:2], 3))
    return replace(found.image, colour=colour), strips


@dataclass(frozen=True)
class _Found:
    """A file that libvips reads by ``loader``: ``image`` is what it has beside its pixels."""

    loader: str
    pixels: int
    orientation: int
    image: ImageData


def _plain(path: Path) -> _Found | None:
    with path.open("rb") as file:
        start = file.read(STARTS_READ)
    if start.startswith(png.SIGNATURE):
        return _png(path)
    if start[:4] in TIFF_STARTS:
        return _tiff(path)
    return _jpeg(path) if start[:2] == JPEG_START else None


def _png(path: Path) -> _Found | None:
    header, found, has_key = png.scan(path)
    if header.colour not in (GREY, RGB, PALETTE) or has_key or header.interlace or found.frames > 1 or found.unreadable:
        return None
    orientation, exif, damaged = read_exif(with_exif(Image.new("L", (1, 1)), found.exif))
    notes = replace(found.notes, exif=exif)
    image = ImageData(NO_PIXELS, grey=header.colour == GREY, profile=found.profile, notes=notes)
    return None if damaged else _Found("pngload", header.width * header.height, orientation, image)


def _tiff(path: Path) -> _Found | None:
    found = describe_plain(path)
    if found is None or found.images > 1:
        return None
    notes = tiff_notes(path, pixel_limit(), found.xmp)
    height, width, channels = found.pixels.shape
    image = ImageData(NO_PIXELS, grey=channels == 1, profile=found.profile, notes=notes)
    return _Found("tiffload", height * width, found.orientation, image)


def _jpeg(path: Path) -> _Found | None:
    with opened(path, path, pixel_limit()) as image:
        if image.mode not in ("L", "RGB") or frames_of(image) > 1:
            return None
        profile = image.info.get("icc_profile")
        orientation, exif, damaged = read_exif(image)
        notes = pillow_notes(image.info, exif)
        described = ImageData(NO_PIXELS, grey=image.mode == "L", profile=profile, notes=notes)
        return None if damaged else _Found("jpegload", image.width * image.height, orientation, described)


def _upright(vips: ModuleType, path: Path, found: _Found) -> Any:
    """The image of libvips, turned as ``read_image`` turns arrays."""
    settings, orientation = {"unlimited": True} if found.loader != "jpegload" else {}, found.orientation
    access = "sequential" if orientation in (1, 2) else "random"
    image = getattr(vips.Image, found.loader)(str(path), access=access, fail_on="error", **settings)
    image = image.rot90().fliphor() if orientation in (5, 6, 7, 8) else image
    image = image.flipver() if orientation in (3, 4, 7, 8) else image
    return image.fliphor() if orientation in (2, 3, 6, 7) else image


def _pyvips() -> ModuleType | None:
    try:
        import pyvips
    except (ImportError, OSError):  # without libvips
        return None
    logging.getLogger("pyvips").setLevel(logging.WARNING)
    pyvips.cache_set_max(0)
    return pyvips
