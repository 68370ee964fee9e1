"""What image files say beside their pixels: EXIF, XMP, resolution, gamma. Damage there never hides the pixels."""

from __future__ import annotations

import os
import struct
import warnings
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

from hkdsr.errors import HkdsrError

LAYOUT_TAGS = frozenset(
    (*range(254, 260), 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 282, 283, 284, 290, 291, 292, 293, 296, 297)
) | {
    317,
    320,
    322,
    323,
    324,
    325,
    330,
    332,
    336,
    338,
    339,
    340,
    341,
    347,
    512,
    513,
    514,
    529,
    530,
    531,
    532,
    700,
    34675,
}
"""TIFF tags that describe how pixels are stored, which an enlarged image stores in its own way."""
SIZE_TAGS = (40962, 40963)
"""Width and height in the EXIF block."""

MAX_PIXELS = "HKDSR_MAX_PIXELS"

MOST_DOTS = 65535
"""The highest resolution that JPEG files hold."""

READ_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error)
"""What Pillow raises for EXIF blocks that are damaged."""


@dataclass(frozen=True)
class Notes:
    """What stands beside the pixels of an upright image; None where there is nothing.

    ``exif`` is an EXIF block without orientation and size, ``xmp`` an XMP packet, ``dpi`` the resolution (x, y) in dots
    per inch, ``gamma`` the exponent of a PNG file times 100,000.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    gamma: int | None = None


def read_exif(image: Image.Image) -> tuple[int, bytes | None, bool]:
    """Orientation (1 to 8), the EXIF block to keep, and whether there was one that could not be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return (*_parsed(image.getexif()), False)
    except READ_ERRORS:
        return 1, None, True


def _parsed(exif: Image.Exif) -> tuple[int, bytes | None]:
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    for block in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        exif.get_ifd(block)  # read now: a damaged block raises here and not when it is written
    exif.bigtiff = False  # an EXIF block is a TIFF of the older kind, whatever it was read from
    for tag in [tag for tag in exif if tag in LAYOUT_TAGS]:
        del exif[tag]
    for tag in SIZE_TAGS:
        exif.get_ifd(ExifTags.IFD.Exif).pop(tag, None)
    kept = exif.tobytes() if len(exif) else None
    return orientation if orientation in range(1, 9) else 1, kept


def pillow_notes(info: dict[Any, Any], exif: bytes | None) -> Notes:
    """The notes in the ``info`` of an image that Pillow opened."""
    xmp, dpi = info.get("xmp"), info.get("dpi")
    return Notes(exif, xmp if isinstance(xmp, bytes) else None, resolution(dpi))


def resolution(dpi: object) -> tuple[float, float] | None:
    """(x, y) if these are numbers that a file can hold; 1 stands for none, as TIFF files without a unit have it."""
    try:
        x, y = (float(value) for value in dpi)  # pyright: ignore[reportGeneralTypeIssues]
    except (TypeError, ValueError, ArithmeticError):
        return None
    return (x, y) if 1 < x <= MOST_DOTS and 1 < y <= MOST_DOTS else None


def pixel_limit() -> int:
    """The most pixels an image may have, from the environment variable HKDSR_MAX_PIXELS; by default 10^9.

    Raises HkdsrError for a setting that is not a whole number above zero.
    """
    setting = os.environ.get(MAX_PIXELS)
    if not setting:
        return 10**9
    if not setting.isdecimal() or not int(setting):
        raise HkdsrError(f"HKDSR_MAX_PIXELS is '{setting[:40]}': set it to a whole number of pixels above 0")
    return int(setting)
