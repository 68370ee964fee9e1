"""PNG files chunk by chunk (PNG specification, W3C, 2003): what decides about pixels, and what stands beside them.

Pillow refuses a whole file for damage in a chunk that no pixel depends on. So it is given the chunks with pixels alone,
and the others are read here, each for itself.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hkdsr.data.notes import Notes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT")
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
class Header:
    """The chunk IHDR: ``depth`` in bits, ``colour`` as the type that PNG numbers, ``interlace`` 0 or 1."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filter: int
    interlace: int


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
    header = read_header(
        next((body for name, body, _ in chunks if name == b"IHDR"), b""),
        sum(len(body) for name, body, _ in chunks if name == b"IDAT"),
    )
    kept = [
        raw
        for name, body, raw in chunks
        if name in (b"IHDR", b"PLTE", b"IDAT") or is_transparency(name, body, header.colour)
    ]
    pixels = SIGNATURE + b"".join(kept) + chunk(b"IEND", b"")
    return _described([(name, body) for name, body, _ in chunks], pixels)


def read_header(body: bytes, stored: int) -> Header:
    """A header, of a file with ``stored`` bytes of pixels. Raises ValueError as ``parse`` does."""
    if len(body) != 13:
        raise ValueError("no header")
    header = Header(*struct.unpack(">IIBBBBB", body))
    if header.width * header.height * header.depth * CHANNELS.get(header.colour, 1) // 8 > DEFLATE_RATIO * stored:
        raise ValueError("less data than the header promises")
    return header


def scan(path: Path) -> tuple[Header, Png, bool]:
    """Header and notes of a PNG file whose pixels stay where they are, and whether it has a transparent colour.

    ``pixels`` of the result is empty. Raises ValueError as ``parse`` does, and OSError.
    """
    chunks, stored = [], 0
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        while len(start := file.read(8)) == 8:
            length, name = int.from_bytes(start[:4], "big"), start[4:]
            if name == b"IDAT":
                stored += length
                file.seek(length, os.SEEK_CUR)
            else:
                chunks.append((name, file.read(length)))
            file.seek(4, os.SEEK_CUR)
    header = read_header(next((body for name, body in chunks if name == b"IHDR"), b""), stored)
    return header, _described(chunks, b""), any(is_transparency(name, body, header.colour) for name, body in chunks)


def _described(chunks: list[tuple[bytes, bytes]], pixels: bytes) -> Png:
    first = dict(reversed(chunks))
    frames = struct.unpack(">I", first[b"acTL"][:4])[0] if len(first.get(b"acTL", b"")) >= 8 else 1
    profile = _inflated(first.get(b"iCCP"))
    xmp = next(
        (_international(body) for name, body in chunks if name == b"iTXt" and body.startswith(XMP_KEYWORD)), None
    )
    notes = Notes(None, xmp, _dpi(first.get(b"pHYs")), _gamma(first.get(b"gAMA")))
    unreadable = ("colour profile",) if b"iCCP" in first and profile is None else ()
    return Png(pixels, max(frames, 1), profile, first.get(b"eXIf"), notes, unreadable)


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


def is_transparency(name: bytes, body: bytes, colour: int) -> bool:
    """Whether a chunk says which colours are transparent, for this colour type."""
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
