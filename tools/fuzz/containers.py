"""Damage to the parts of an image file: chunks, tags, segments and headers, with checksums that are right again."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np

from tools.fuzz.bytewise import damaged, number, pick

PNG = b"\x89PNG\r\n\x1a\n"
ANCILLARY = (b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"eXIf", b"acTL", b"fcTL")
Part = tuple[bytes, bytes]


def png(content: bytes, random: np.random.Generator) -> bytes:
    """One chunk is changed, swapped, repeated, dropped or added, or has a wrong length."""
    parts: list[Part] = []
    at = len(PNG)
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        parts.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    if not parts:
        return damaged(content, random)
    if random.random() < 0.2:
        added = (ANCILLARY[pick(random, len(ANCILLARY))], random.bytes(pick(random, 60)))
        parts.insert(pick(random, len(parts) + 1), added)
    else:
        parts = _shuffled(parts, random)
    written = [_chunk(name, data) for name, data in parts]
    if written and random.random() < 0.15:
        chosen = pick(random, len(written))
        written[chosen] = struct.pack(">I", number(random)) + written[chosen][4:]
    return PNG + b"".join(written)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _shuffled(parts: list[Part], random: np.random.Generator) -> list[Part]:
    """The parts after one change."""
    one, other = pick(random, len(parts)), pick(random, len(parts))
    parts = list(parts)
    match pick(random, 5):
        case 0:
            parts[one], parts[other] = parts[other], parts[one]
        case 1:
            parts.insert(other, parts[one])
        case 2:
            del parts[one]
        case _:
            parts[one] = (parts[one][0], damaged(parts[one][1], random))
    return parts


def jpeg(content: bytes, random: np.random.Generator) -> bytes:
    """One segment before the scan is changed, swapped, repeated, dropped or added, or has a wrong length."""
    parts: list[Part] = []
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        parts.append((content[at : at + 2], content[at + 4 : at + 2 + length]))
        at += 2 + max(length, 2)
    rest = content[at:]
    if not parts:
        return damaged(content, random)
    if random.random() < 0.2:
        parts.insert(pick(random, len(parts)), (bytes([0xFF, 0xE0 + pick(random, 16)]), random.bytes(pick(random, 60))))
    else:
        parts = _shuffled(parts, random)
    wrong = pick(random, len(parts)) if random.random() < 0.15 else -1
    segments = [
        name + struct.pack(">H", number(random, 16) if index == wrong else (len(data) + 2) % 65536) + data
        for index, (name, data) in enumerate(parts)
    ]
    return content[:2] + b"".join(segments) + rest


def webp(content: bytes, random: np.random.Generator) -> bytes:
    """One chunk of the RIFF container is changed, swapped, repeated or dropped."""
    parts: list[Part] = []
    at = 12
    while at + 8 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        parts.append((content[at : at + 4], content[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    if not parts:
        return damaged(content, random)
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in _shuffled(parts, random)
    )
    return b"RIFF" + struct.pack("<I", number(random) if random.random() < 0.1 else len(body)) + body


def tiff(content: bytes, random: np.random.Generator) -> bytes:
    """One entry of the first directory has another tag, type, count or value."""
    order = "<" if content[:2] == b"II" else ">"
    if len(content) < 16:
        return damaged(content, random)
    if struct.unpack_from(f"{order}H", content, 2)[0] == 43:  # BigTIFF: 64-bit offsets and counts
        (start,) = struct.unpack_from(f"{order}Q", content, 8)
        head, form, counts = 8, f"{order}HHQQ", "Q"
    else:
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        head, form, counts = 2, f"{order}HHII", "H"
    size = struct.calcsize(form)
    if start + head + size > len(content):
        return damaged(content, random)
    (count,) = struct.unpack_from(f"{order}{counts}", content, start)
    at = start + head + size * pick(random, min(count, 40))
    if at + size > len(content):
        return damaged(content, random)
    entry = list(struct.unpack_from(form, content, at))
    field = pick(random, 4)
    entry[field] = number(random, 16 if field < 2 else 32)
    return content[:at] + struct.pack(form, *entry) + content[at + size :]


def bmp(content: bytes, random: np.random.Generator) -> bytes:
    """One number of the header is another."""
    at = 2 * pick(random, 27)
    width = 2 + 2 * pick(random, 2)
    return content[:at] + number(random, 8 * width).to_bytes(width, "little") + content[at + width :]


def gif(content: bytes, random: np.random.Generator) -> bytes:
    """One byte of the screen's or of the first image's header is another."""
    start = content.find(b",", 13) if random.random() < 0.5 else 6
    at = max(start, 6) + pick(random, 8)
    return content[:at] + bytes([number(random, 8)]) + content[at + 1 :]


DAMAGE: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "png": png,
    "jpg": jpeg,
    "webp": webp,
    "tif": tiff,
    "bmp": bmp,
    "gif": gif,
}
