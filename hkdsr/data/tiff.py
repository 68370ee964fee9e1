"""TIFF files of 8 and 16 bits per sample, grey and RGB, in every layout (TIFF 6.0, Adobe, 1992), by tifffile.

Pillow misreads some of them: planar 16-bit files, inverted 16-bit grey, associated alpha. It reads the other kinds of
colour, of 8 bits or less: palettes, bilevel, YCbCr, CMYK, Lab.
"""

from __future__ import annotations

import logging
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC, TiffPage

from hkdsr.data.decode import require_pixels
from hkdsr.errors import HkdsrError
from hkdsr.memory import ran_out

ORIENTATION, XMP, PROFILE = 274, 700, 34675
ASSOCIATED, UNASSOCIATED = 1, 2
# Without a handler, Python prints what tifffile logs about damaged tags.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

READ_ERRORS = (
    *(OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, AttributeError, AssertionError),
    *(struct.error, zlib.error, MemoryError),
)
"""What tifffile and its codecs raise for damaged files."""
KINDS = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "undefined", 5: "complex", 6: "complex"}
REDUCED = 1


@dataclass(frozen=True)
class Tiff:
    """The first image: ``pixels`` (H, W, 1..4) as stored, grey or RGB, with alpha if ``has_alpha``, not turned yet.

    ``images`` counts those of full size in the file.
    """

    pixels: np.ndarray
    has_alpha: bool
    orientation: int
    profile: bytes | None
    xmp: bytes | None
    images: int


def read_tiff(path: Path, limit: int) -> Tiff | None:
    """Read the first image; None where Pillow reads the layout rightly.

    Raises HkdsrError for more than ``limit`` pixels and for a layout that is not supported, which is named; OSError or
    ValueError for a damaged file.
    """
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            if not isinstance(page, TiffPage):
                raise ValueError("no image")
            require_pixels(path, page.imagewidth * page.imagelength, limit)
            if _is_for_pillow(page):
                return None
            _require_supported(path, page)
            _require_whole(page, path.stat().st_size)
            return _described(file, page, *_pixels(page))
    except HkdsrError:
        raise
    except READ_ERRORS as error:
        if ran_out(error):
            raise MemoryError from error
        if "imagecodecs" in str(error):
            raise HkdsrError(
                f"{path} has a compression that is not supported ({error}): save it uncompressed or with Deflate"
            ) from error
        raise ValueError("damaged TIFF") from error


def describe_plain(path: Path) -> Tiff | None:
    """What a file of unsigned grey or RGB tells of itself; None for all other layouts.

    Its ``pixels`` are a stand-in of the right shape and type that takes no memory.
    Raises OSError or ValueError for a damaged file.
    """
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            if not isinstance(page, TiffPage) or not _is_plain(page):
                return None
            _require_whole(page, path.stat().st_size)
            # A stand-in that takes no memory.
            shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
            pixels = np.broadcast_to(np.zeros((), f"u{page.bitspersample // 8}"), shape)
            return _described(file, page, pixels, has_alpha=False)
    except READ_ERRORS as error:
        raise ValueError("damaged TIFF") from error


def _is_plain(page: TiffPage) -> bool:
    kinds = {PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.RGB: 3}
    fitting = page.samplesperpixel == kinds.get(PHOTOMETRIC(page.photometric)) and page.bitspersample in (8, 16)
    return fitting and KINDS.get(page.sampleformat) == "unsigned" and page.imagedepth == 1


def _described(file: tifffile.TiffFile, page: TiffPage, pixels: np.ndarray, has_alpha: bool) -> Tiff:
    images = sum(not (one.subfiletype & REDUCED) for one in file.pages if isinstance(one, TiffPage)) or 1
    return Tiff(pixels, has_alpha, _orientation(page), _content(page, PROFILE), _content(page, XMP), images)


def _is_for_pillow(page: TiffPage) -> bool:
    bits = page.bitspersample
    other = page.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB)
    return bits < 8 or (bits == 8 and other and KINDS.get(page.sampleformat) in ("unsigned", "undefined"))


def _require_supported(path: Path, page: TiffPage) -> None:
    bits, kind = page.bitspersample, KINDS.get(page.sampleformat, "unknown")
    colour = "CMYK" if page.photometric == PHOTOMETRIC.SEPARATED else getattr(page.photometric, "name", "unknown")
    wanted = (3, 4) if page.photometric == PHOTOMETRIC.RGB else (1, 2)
    lacking = None
    if kind not in ("unsigned", "undefined"):
        lacking = f"{bits}-bit {kind} samples"
    elif bits not in (8, 16):
        lacking = f"{bits}-bit samples"
    elif page.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB):
        lacking = f"{bits}-bit {colour} colours"
    elif page.imagedepth > 1:
        lacking = f"{page.imagedepth} planes of depth"
    elif page.samplesperpixel not in wanted:
        lacking = f"{page.samplesperpixel} samples per pixel"
    if lacking:
        raise HkdsrError(f"{path} has {lacking}, which is not supported: save it as grey or RGB of 8 or 16 bits")


def _require_whole(page: TiffPage, size: int) -> None:
    """tifffile fills what a cut file lacks with zeros."""
    ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if max(ends, default=size + 1) > size or 0 in page.databytecounts:
        raise ValueError("cut")


def _pixels(page: TiffPage) -> tuple[np.ndarray, bool]:
    pixels = page.asarray(maxworkers=1)
    if page.axes.startswith("S"):
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[:2] != (page.imagelength, page.imagewidth):
        raise ValueError("another size")
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        pixels = np.concatenate((np.iinfo(pixels.dtype).max - pixels[..., :1], pixels[..., 1:]), axis=2)
    colours = 3 if page.photometric == PHOTOMETRIC.RGB else 1
    extra = next((int(kind) for kind in page.extrasamples), 0) if pixels.shape[2] > colours else 0
    if extra == ASSOCIATED:
        return _divided(pixels), True
    return (pixels, True) if extra == UNASSOCIATED else (pixels[..., :colours], False)


def _divided(pixels: np.ndarray) -> np.ndarray:
    """Colours that were multiplied by their alpha, divided by it again."""
    largest, alpha = np.iinfo(pixels.dtype).max, pixels[..., -1:].astype(np.float64)
    colours = np.divide(pixels[..., :-1] * float(largest), alpha, out=np.zeros(pixels[..., :-1].shape), where=alpha > 0)
    return np.concatenate((np.rint(colours.clip(0, largest)).astype(pixels.dtype), pixels[..., -1:]), axis=2)


def _orientation(page: TiffPage) -> int:
    found = page.tags.get(ORIENTATION)
    return int(found.value) if found is not None and found.value in range(1, 9) else 1


def _content(page: TiffPage, tag: int) -> bytes | None:
    found = page.tags.get(tag)
    return bytes(found.value) if found is not None and isinstance(found.value, bytes) else None
