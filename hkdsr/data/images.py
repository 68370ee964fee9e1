"""Images on disk: exact pixels in, whole files out, and one sentence when either cannot be done."""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

# The longest side that a file can have, by the formats' libraries.
LONGEST = {".webp": 16383, ".jpeg": 65500, ".jpg": 65500}

# What Pillow raises on files that are damaged, too large for their format, or no images at all.
CODEC_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)

# Pillow decodes 16-bit colour to its high bytes. The same decoder, told the other byte order, gives the low bytes.
OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


@dataclass(frozen=True)
class ImageData:
    """A decoded image, upright.

    ``colour`` is RGB (H, W, 3) of uint8 or uint16 over the type's full range; ``alpha`` (H, W) of the same type, where
    there is one. A ``grey`` image has three equal channels. ``profile`` is the ICC profile of the colours.
    """

    colour: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    profile: bytes | None = None


def read_image(path: str | Path) -> ImageData:
    """Decode an image file (its first frame) to the stored pixels, turned upright as its EXIF says.

    Reads all that Pillow does, and keeps 16 bits per channel of PNG and TIFF. Raises HkdsrError if the file is missing,
    a folder, damaged, no image, of 32-bit values or larger than Pillow's limit.
    """
    path = Path(path)
    if path.is_dir():
        raise HkdsrError(f"{path} is a folder: name an image inside it")
    try:
        with Image.open(path) as pil:
            profile = None if pil.mode in ("CMYK", "LAB") else pil.info.get("icc_profile")
            pixels = _deep_colour(path, pil)
            pixels = _pixels(path, pil) if pixels is None else pixels
            # Asked after decoding, for Pillow turns TIFF upright by itself and then drops the tag.
            orientation = pil.getexif().get(ExifTags.Base.Orientation, 1)
    except FileNotFoundError as error:
        raise HkdsrError(f"there is no image at {path}: check the path") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise HkdsrError(f"{path} has more pixels than the {limit:,} that Pillow opens: split it first") from error
    except CODEC_ERRORS as error:
        reason = getattr(error, "strerror", None) or "damaged or of an unknown format"
        raise HkdsrError(f"{path} cannot be read ({reason}): give a whole PNG, JPEG, WebP, BMP or TIFF file") from error
    pixels = _upright(pixels, orientation)
    channels = pixels.shape[2]
    return ImageData(
        colour=np.ascontiguousarray(pixels[..., :3] if channels > 2 else pixels[..., [0, 0, 0]]),
        alpha=np.ascontiguousarray(pixels[..., -1]) if channels in (2, 4) else None,
        grey=channels < 3,
        profile=profile,
    )


def rgb(path: str | Path) -> np.ndarray:
    """The colours of an image file as uint8 RGB (H, W, 3): alpha is left out, 16 bits are rounded to 8.

    Raises HkdsrError as ``read_image`` does.
    """
    colour = read_image(path).colour
    return colour if colour.dtype == np.uint8 else ((colour.astype(np.uint32) + 128) // 257).astype(np.uint8)


def write_image(path: str | Path, image: ImageData) -> None:
    """Write an image in the format of the path's suffix; the file appears whole or not at all.

    JPEG is written at quality 95 with full colour resolution, WebP lossless. A grey image is stored in one channel,
    the mean of its three. Raises HkdsrError for another suffix, for alpha or 16 bits (PNG only) where the format has no
    room for them, and if writing fails.
    """
    path = Path(path)
    check_target(path, image)
    suffix, deep = path.suffix.lower(), image.colour.dtype == np.uint16
    planes = [image.colour]
    if image.grey:
        planes = [np.rint(image.colour.mean(axis=2, keepdims=True)).astype(image.colour.dtype)]
    if image.alpha is not None:
        planes.append(image.alpha[..., None])
    pixels = np.concatenate(planes, axis=2)
    try:
        encoded = _encoded_png16(pixels, image.profile) if deep else _encoded(pixels, image.profile, suffix)
    except CODEC_ERRORS as error:
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise HkdsrError(f"{path} cannot hold an image of {size} pixels: name it .png or .tif") from error
    write_atomically(path, encoded)


def check_target(path: Path, image: ImageData) -> None:
    """Raises HkdsrError, as ``write_image`` would, if a file of this suffix cannot hold what ``image`` has."""
    if path.suffix.lower() not in SUFFIXES:
        raise HkdsrError(f"{path} has no suffix of an image: name it with one of {', '.join(SUFFIXES)}")
    if lacking := _lacking(path, image):
        raise HkdsrError(f"{path} cannot hold {lacking}: name it .png")


def holds(path: Path, image: ImageData) -> bool:
    """Whether a file of the image suffix of ``path`` can hold ``image``: its size, depth and transparency."""
    return not _lacking(path, image)


def _lacking(path: Path, image: ImageData) -> str | None:
    suffix = path.suffix.lower()
    if image.colour.dtype == np.uint16 and suffix != ".png":
        return "16 bits per channel"
    if image.alpha is not None and suffix in (".bmp", ".jpeg", ".jpg"):
        return "transparency"
    height, width = image.colour.shape[:2]
    if max(height, width) > LONGEST.get(suffix, max(height, width)):
        return f"{width}x{height} pixels"
    return None


def list_images(folder: str | Path) -> list[Path]:
    """The image files of a folder by name, known by their suffix; hidden files and folders inside are left out.

    Raises HkdsrError if it is no folder or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise HkdsrError(f"there is no folder {folder}: name one that holds images")
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    images = sorted(path for path in files if not path.name.startswith("."))
    if not images:
        raise HkdsrError(f"{folder} holds no image: name a folder with {', '.join(SUFFIXES)} files")
    return images


def _pixels(path: Path, pil: ImageFile.ImageFile) -> np.ndarray:
    """(H, W, 1..4): grey, grey and alpha, RGB or RGBA; uint8, or uint16 for 16-bit grey."""
    if pil.mode.startswith(("I", "F")):
        # Some 16-bit files come as mode I, of 32 bits.
        values = np.asarray(pil)
        if pil.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise HkdsrError(f"{path} holds 32-bit values: save it with 8 or 16 bits per channel")
        return _keyed(values.astype(np.uint16)[..., None], pil)
    grey = pil.mode in ("1", "L", "LA", "La")
    modes = ("L", "LA") if grey else ("RGB", "RGBA")
    # A copy, for tensors cannot share the read-only memory of Pillow.
    pixels = np.array(pil.convert(modes[pil.has_transparency_data]))
    return pixels.reshape(*pixels.shape[:2], -1)


def _deep_colour(path: Path, pil: ImageFile.ImageFile) -> np.ndarray | None:
    """(H, W, 2..4) uint16 of 16-bit PNG and TIFF in colour or with alpha; None for all other images."""
    rawmodes = {tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0]) for tile in pil.tile}
    mode, _, order = rawmodes.pop().partition(";") if len(rawmodes) == 1 else ("", "", "")
    if (mode, order) == ("LA", "16B"):
        # Its four bytes per pixel pass as four channels.
        return _decoded_as(pil, "RGBA").view(">u2").astype(np.uint16)
    if mode not in ("RGB", "RGBA") or order not in OTHER_ORDER:
        return None
    with Image.open(path) as again:
        low = _decoded_as(again, f"{mode};{OTHER_ORDER[order]}")
    return _keyed(_decoded_as(pil, f"{mode};{order}").astype(np.uint16) << 8 | low, pil)


def _decoded_as(pil: ImageFile.ImageFile, rawmode: str) -> np.ndarray:
    pil.tile = [
        tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *(tile.args or ())[1:]))
        for tile in pil.tile
    ]
    return np.array(pil)


def _keyed(pixels: np.ndarray, pil: ImageFile.ImageFile) -> np.ndarray:
    """16-bit pixels with the alpha that a PNG's transparent colour stands for."""
    key = pil.info.get("transparency")
    if key is None or pixels.shape[2] not in (1, 3):
        return pixels
    opaque = (pixels != np.asarray(key)).any(axis=2, keepdims=True)
    return np.concatenate((pixels, opaque * np.uint16(65535)), axis=2)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF orientations 1..8: first swap the axes, then mirror."""
    pixels = pixels.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else pixels
    pixels = pixels[::-1] if orientation in (3, 4, 7, 8) else pixels
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def _encoded(pixels: np.ndarray, profile: bytes | None, suffix: str) -> bytes:
    pil, file = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), BytesIO()
    if suffix in (".jpg", ".jpeg"):
        pil.save(file, "JPEG", quality=95, subsampling=0, icc_profile=profile)
    elif suffix == ".webp":
        pil.save(file, "WEBP", lossless=True, exact=True, icc_profile=profile)
    else:
        pil.save(file, Image.registered_extensions()[suffix], icc_profile=profile)
    return file.getvalue()


def _encoded_png16(pixels: np.ndarray, profile: bytes | None) -> bytes:
    """PNG of 16 bits per channel, which Pillow writes for grey only (PNG specification, W3C, 2003)."""
    height, width, channels = pixels.shape
    lines = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    # Filter type 2: each line is stored as its difference to the one above.
    filtered = np.insert(np.diff(lines, axis=0, prepend=np.zeros_like(lines[:1])), 0, 2, axis=1)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)}
    if profile:
        chunks[b"iCCP"] = b"ICC profile\0\0" + zlib.compress(profile)
    chunks |= {b"IDAT": zlib.compress(filtered.tobytes()), b"IEND": b""}
    checked = (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(checked)
