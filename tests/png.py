"""PNG, WebP and JPEG taken apart into chunks and put together again, so that tests can spoil one of them."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Name and content of every chunk of a PNG."""
    found, at = [], len(SIGNATURE)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def joined(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, each with the checksum it should have."""
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def with_chunk(content: bytes, name: bytes, added: bytes, before: bytes = b"IDAT") -> bytes:
    """The PNG with a further chunk before the first one called ``before``."""
    parts = chunks(content)
    at = next(index for index, part in enumerate(parts) if part[0] == before)
    return joined([*parts[:at], (name, added), *parts[at:]])


def webp_with_exif(content: bytes, exif: bytes) -> bytes:
    """A lossless WebP of one chunk, now with an EXIF chunk after it (container specification of WebP)."""
    assert content[12:16] == b"VP8L"
    bits = struct.unpack_from("<I", content, 21)[0]
    width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF  # less one, as the extended header wants them
    extended = b"VP8X" + struct.pack("<I", 10) + bytes([8, 0, 0, 0])
    extended += width.to_bytes(3, "little") + height.to_bytes(3, "little")
    body = b"WEBP" + extended + content[12:] + b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_with_segment(content: bytes, marker: int, added: bytes) -> bytes:
    """The JPEG with an application segment right after its start."""
    return content[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(added) + 2) + added + content[2:]
