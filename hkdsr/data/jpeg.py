"""JPEG files without what stands beside their pixels (ITU-T T.81, annex B)."""

from __future__ import annotations

import struct

START_OF_SCAN = 0xDA
ADOBE, ADOBE_LENGTH = 0xEE, 14  # it says how colours are to be converted
NOTES = (*range(0xE0, 0xF0), 0xFE)


def without_notes(content: bytes) -> bytes:
    """The same image without its application segments and comments, except undamaged ones that decide about colours."""
    kept, at = [content[:2]], 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != START_OF_SCAN:
        marker, (length,) = content[at + 1], struct.unpack_from(">H", content, at + 2)
        segment = content[at : at + 2 + length]
        decides = marker == ADOBE and length >= ADOBE_LENGTH and segment[4:9] == b"Adobe"
        if marker not in NOTES or decides:
            kept.append(segment)
        at += 2 + length
    return b"".join([*kept, content[at:]])
