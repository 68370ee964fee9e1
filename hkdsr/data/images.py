"""Images from files: exactly the stored pixels, turned upright, or HkdsrError where they cannot be read.

PNG is taken apart by ``hkdsr.data.png``, TIFF read by ``hkdsr.data.tiff``, everything else by Pillow.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from hkdsr.data import png
from hkdsr.data.decode import CODEC_ERRORS, opened, pixels_of
from hkdsr.data.jpeg import without_notes
from hkdsr.data.notes import Notes, pillow_notes, pixel_limit, read_exif
from hkdsr.data.tiff import read_tiff
from hkdsr.errors import HkdsrError
from hkdsr.memory import OutOfMemoryError, ran_out
from hkdsr.paths import entries, exists, is_file, is_folder, leads_nowhere, user_path

logger = logging.getLogger(__name__)

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
JPEG_START = b"\xff\xd8"
STARTS_READ = 32
FOREIGN = {
    "empty": re.compile(rb"\Z"),
    "an HEIC or AVIF photograph, or a video": re.compile(rb".{4}ftyp", re.DOTALL),
    "a web page or a drawing in XML": re.compile(rb"(\xef\xbb\xbf)?\s*<[!?a-zA-Z]"),
    "a pointer of Git LFS, whose file was not fetched": re.compile(rb"version https://git-lfs"),
    "a PDF document": re.compile(rb"%PDF"),
}
"""What files with the name of an image often are instead, by how they begin."""
# Their profiles do not suit the RGB that they are converted to.
CONVERTED = ("CMYK", "LAB")
# The most pixels in a byte of GIF: a code of 12 bits stands for at most 4096.
LZW_RATIO = 2731
# Photographs with depth or gain maps beside them; the first image is all that is meant.
ONE_IMAGE = ("MPO",)


@dataclass(frozen=True)
class ImageData:
    """A decoded image, upright.

    ``colour`` is RGB (H, W, 3) of uint8 or uint16 over the type's full range; ``alpha`` (H, W) of the same type, where
    there is one. A ``grey`` image has three equal channels. ``profile`` is the ICC profile of the colours, ``notes``
    what else stands beside the pixels.
    """

    colour: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    profile: bytes | None = None
    notes: Notes = field(default_factory=Notes)


def read_image(path: str | Path) -> ImageData:
    """Decode an image file (its first frame or page) to the stored pixels, turned upright as its EXIF says.

    Reads what Pillow reads, and PNG and TIFF with 16 bits per channel. What is left out (further frames, a profile that
    does not suit) is logged as a warning.

    Raises HkdsrError if the file is missing, a folder, damaged, not an image, of a layout that is not supported, or
    larger than 10^9 pixels (environment variable HKDSR_MAX_PIXELS).
    """
    path, start = user_path(path), b"?"
    limit = pixel_limit()
    try:
        if is_folder(path):
            raise HkdsrError(f"{path} is a folder: name an image inside it")
        if exists(path) and not is_file(path):
            raise HkdsrError(f"{path} is a pipe or device: name an image file")
        with path.open("rb") as file:
            start = file.read(STARTS_READ)
        if start.startswith(png.SIGNATURE):
            return _read_png(path, limit)
        if start[:4] in TIFF_STARTS:
            return _read_tiff(path, limit)
        return _read_by_pillow(path, limit, is_jpeg=start[:2] == JPEG_START)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise HkdsrError(f"{path} is a link to a file that is gone: bring that back, or remove the link") from error
        raise HkdsrError(f"there is no image at {path}: check the path") from error
    except (MemoryError, *CODEC_ERRORS) as error:
        if ran_out(error):
            raise OutOfMemoryError(f"{path} does not fit into memory: split it, or free memory") from error
        reason = getattr(error, "strerror", None) or _foreign(start)
        raise HkdsrError(f"{path} cannot be read ({reason}): give a whole PNG, JPEG, WebP, BMP or TIFF file") from error


def rgb(path: str | Path) -> np.ndarray:
    """The colours of an image file as uint8 RGB (H, W, 3): alpha is left out, 16 bits are rounded to 8.

    Raises HkdsrError as ``read_image`` does.
    """
    colour = read_image(path).colour
    return colour if colour.dtype == np.uint8 else ((colour.astype(np.uint32) + 128) // 257).astype(np.uint8)


def image_files(folder: Path) -> list[Path]:
    """The image files directly in ``folder`` by name, hidden ones left out; there may be none.

    A link to an image that is gone is one of them: whoever reads it gets a sentence, instead of fewer images unsaid.
    """
    return sorted(
        path
        for path in entries(folder)
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and (is_file(path) or leads_nowhere(path))
    )


def list_images(folder: str | Path) -> list[Path]:
    """The image files of a folder by name, known by their suffix; hidden files and folders inside are left out.

    Raises HkdsrError if it is not a folder or has no images.
    """
    folder = user_path(folder)
    if not is_folder(folder):
        raise HkdsrError(f"there is no folder {folder}: name one that has images")
    images = image_files(folder)
    if not images:
        raise HkdsrError(f"{folder} has no images: name a folder with {', '.join(SUFFIXES)} files")
    return images


def _read_png(path: Path, limit: int) -> ImageData:
    file = png.parse(path.read_bytes())
    _report_frames(path, file.frames)
    for note in file.unreadable:
        logger.warning("%s: its %s is damaged and left out", path, note)
    with opened(file.pixels, path, limit) as image:
        pixels = pixels_of(path, file.pixels, image, limit)
        orientation, exif, damaged = read_exif(with_exif(image, file.exif))
    if damaged:
        logger.warning("%s: its EXIF is damaged and left out", path)
    notes = Notes(exif, file.notes.xmp, file.notes.dpi, file.notes.gamma)
    return _image(pixels, pixels.shape[2] in (2, 4), orientation, file.profile, notes)


def _read_tiff(path: Path, limit: int) -> ImageData:
    found = read_tiff(path, limit)
    if found is None:
        return _read_by_pillow(path, limit, is_jpeg=False)
    _report_frames(path, found.images)
    notes = tiff_notes(path, limit, found.xmp)
    return _image(found.pixels, found.has_alpha, found.orientation, found.profile, notes)


def with_exif(image: Image.Image, block: bytes | None) -> Image.Image:
    """``image``, which now has the EXIF block of a PNG file, if there is one."""
    if block:
        image.info["exif"] = b"Exif\0\0" + block.removeprefix(b"Exif\0\0")
    return image


def tiff_notes(path: Path, limit: int, xmp: bytes | None) -> Notes:
    """What stands beside the pixels of a TIFF file, as far as Pillow can read it."""
    try:
        with opened(path, path, limit) as image:
            return replace(pillow_notes(image.info, read_exif(image)[1]), xmp=xmp)
    except CODEC_ERRORS:
        logger.debug("%s: Pillow does not know its layout, so its EXIF is left out", path)
        return Notes(xmp=xmp)


def _read_by_pillow(path: Path, limit: int, is_jpeg: bool) -> ImageData:
    try:
        return _read_source(path, path, limit)
    except CODEC_ERRORS as error:
        if not is_jpeg or ran_out(error):
            raise
    # What stands beside the pixels may be what is damaged.
    image = _read_source(path, without_notes(path.read_bytes()), limit)
    logger.warning("%s: what stands beside its pixels (EXIF, profile) is damaged and left out", path)
    return image


def _read_source(path: Path, source: Path | bytes, limit: int) -> ImageData:
    with opened(source, path, limit) as image:
        _report_frames(path, frames_of(image))
        _require_room(path, source, image)
        mode = image.mode
        profile = image.info.get("icc_profile")
        pixels = pixels_of(path, source, image, limit)
        # Asked after decoding, for Pillow turns TIFF upright by itself and then drops the tag.
        orientation, exif, damaged = read_exif(image)
        notes = pillow_notes(image.info, exif)
    if damaged:
        logger.warning("%s: its EXIF is damaged and left out", path)
    if profile and mode in CONVERTED:
        logger.warning("%s is converted from %s to RGB, so its %s profile is left out", path, mode, mode)
        profile = None
    return _image(pixels, pixels.shape[2] in (2, 4), orientation, profile, notes)


def _require_room(path: Path, source: Path | bytes, image: ImageFile.ImageFile) -> None:
    """Raises HkdsrError for a GIF file whose header promises more pixels than its data can hold."""
    size = len(source) if isinstance(source, bytes) else path.stat().st_size
    if image.format == "GIF" and image.width * image.height > LZW_RATIO * size:
        raise HkdsrError(
            f"{path} promises {image.width}x{image.height} pixels, which its {size:,} bytes cannot hold: save it again"
        )


def _foreign(start: bytes) -> str:
    """What a file that begins with ``start`` is, as far as is known, where it cannot be read."""
    return next((kind for kind, begins in FOREIGN.items() if begins.match(start)), "damaged or of an unknown format")


def frames_of(image: ImageFile.ImageFile) -> int:
    """How many images a file has, further sizes of one left out."""
    if image.format in ONE_IMAGE:
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except CODEC_ERRORS:
        return 1
    finally:
        image.seek(0)


def _report_frames(path: Path, count: int) -> None:
    if count > 1:
        logger.warning("%s has %d images, of which the first is taken", path, count)


def _image(pixels: np.ndarray, has_alpha: bool, orientation: int, profile: bytes | None, notes: Notes) -> ImageData:
    pixels = _upright(pixels, orientation)
    channels = pixels.shape[2]
    return ImageData(
        colour=np.ascontiguousarray(pixels[..., :3] if channels > 2 else pixels[..., [0, 0, 0]]),
        alpha=np.ascontiguousarray(pixels[..., -1]) if has_alpha else None,
        grey=channels < 3,
        profile=profile,
        notes=notes,
    )


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF orientations 1..8: first swap the axes, then mirror."""
    pixels = pixels.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else pixels
    pixels = pixels[::-1] if orientation in (3, 4, 7, 8) else pixels
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
