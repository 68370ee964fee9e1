"""PNG files chunk by chunk (PNG specification, W3C, 2003): what decides about pixels, and what stands beside them.

Pillow refuses a whole file for damage in a chunk that no pixel depends on. So it is given the chunks with pixels alone,
and the others are read here, each for itself.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hkdsr.data.notes import Notes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT")
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""By the number of channels."""
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By colour type."""
TRANSPARENT_BYTES = {0: 2, 2: 6}
"""Length of the transparent colour by colour type; a palette has any."""
DEFLATE_RATIO = 1040
"""The most that deflate can shrink data, with a little to spare."""
XMP_KEYWORD = b"XML:com.adobe.xmp"
INCH = 0.0254
LARGEST_NOTE = 64 << 20


@dataclass(frozen=True)
class Png:
    """``pixels`` is a PNG file of the chunks that decide about pixels; ``frames`` counts an animation's images.

    ``unreadable`` names the notes that were there and could not be read.
    """

    pixels: bytes
    frames: int
    profile: bytes | None
    exif: bytes | None
    notes: Notes
    unreadable: tuple[str, ...]


def parse(content: bytes) -> Png:
    """Take a PNG file apart. Raises ValueError for a header that is cut, or promises more than the file can hold."""
    chunks = list(_chunks(content))
    header = next((body for name, body, _ in chunks if name == b"IHDR"), b"")
    if len(header) != 13:
        raise ValueError("no header")
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    stored = sum(len(body) for name, body, _ in chunks if name == b"IDAT")
    if width * height * depth * CHANNELS.get(colour, 1) // 8 > DEFLATE_RATIO * stored:
        raise ValueError("less data than the header promises")
    kept = [
        raw for name, body, raw in chunks if name in (b"IHDR", b"PLTE", b"IDAT") or _is_transparency(name, body, colour)
    ]
    pixels = SIGNATURE + b"".join(kept) + chunk(b"IEND", b"")
    first = {name: body for name, body, _ in reversed(chunks)}
    frames = struct.unpack(">I", first[b"acTL"][:4])[0] if len(first.get(b"acTL", b"")) >= 8 else 1
    profile = _inflated(first.get(b"iCCP"))
    xmp = next(
        (_international(body) for name, body, _ in chunks if name == b"iTXt" and body.startswith(XMP_KEYWORD)), None
    )
    notes = Notes(None, xmp, _dpi(first.get(b"pHYs")), _gamma(first.get(b"gAMA")))
    unreadable = ("colour profile",) if b"iCCP" in first and profile is None else ()
    return Png(pixels, max(frames, 1), profile, first.get(b"eXIf"), notes, unreadable)


def with_notes(content: bytes, profile: bytes | None, notes: Notes) -> bytes:
    """A PNG file with a colour profile and notes in it."""
    added = []
    if profile:
        added.append(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if notes.gamma is not None:
        added.append(chunk(b"gAMA", struct.pack(">I", notes.gamma)))
    if notes.dpi:
        added.append(chunk(b"pHYs", struct.pack(">IIB", *(round(dots / INCH) for dots in notes.dpi), 1)))
    if notes.exif:
        added.append(chunk(b"eXIf", notes.exif.removeprefix(b"Exif\0\0")))
    if notes.xmp:
        added.append(chunk(b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + notes.xmp))
    start = len(SIGNATURE) + 12 + 13
    return content[:start] + b"".join(added) + content[start:]


def encode16(pixels: np.ndarray) -> bytes:
    """A PNG file of uint16 pixels (H, W, 1..4): Pillow writes 16 bits for grey alone."""
    height, width, channels = pixels.shape
    lines = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    # Filter type 2: each line is stored as its difference to the one above.
    filtered = np.insert(np.diff(lines, axis=0, prepend=np.zeros_like(lines[:1])), 0, 2, axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0)
    data = zlib.compress(filtered.tobytes())
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, body, and all bytes of every chunk; the last may be cut."""
    at = len(SIGNATURE)
    while at + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length], content[at : at + 12 + length]
        at += 12 + length


def _is_transparency(name: bytes, body: bytes, colour: int) -> bool:
    if name != b"tRNS":
        return False
    return 0 < len(body) <= 256 if colour == 3 else len(body) == TRANSPARENT_BYTES.get(colour)


def _inflated(body: bytes | None) -> bytes | None:
    """What follows a keyword and the sign for deflate; None if it is damaged."""
    if body is None:
        return None
    _, _, rest = body.partition(b"\0")
    return _decompressed(rest[1:]) if rest[:1] == b"\0" else None


def _international(body: bytes) -> bytes | None:
    _, _, rest = body.partition(b"\0")
    compressed, method, texts = rest[:1], rest[1:2], rest[2:].split(b"\0", 2)
    if len(texts) < 3 or compressed not in (b"\0", b"\1") or method != b"\0":
        return None
    return _decompressed(texts[2]) if compressed == b"\1" else texts[2]


def _decompressed(content: bytes) -> bytes | None:
    inflate = zlib.decompressobj()
    try:
        found = inflate.decompress(content, LARGEST_NOTE)
    except zlib.error:
        return None
    return found if inflate.eof and found else None


def _dpi(body: bytes | None) -> tuple[float, float] | None:
    if body is None or len(body) != 9:
        return None
    x, y, unit = struct.unpack(">IIB", body)
    return (x * INCH, y * INCH) if x and y and unit == 1 else None


def _gamma(body: bytes | None) -> int | None:
    return struct.unpack(">I", body)[0] or None if body is not None and len(body) == 4 else None
