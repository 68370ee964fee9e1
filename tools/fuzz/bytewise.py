"""Damage that suits any file, and values that programs tend to stumble over."""

from __future__ import annotations

import numpy as np

NUMBERS = (0, 1, 2, 3, 7, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def number(random: np.random.Generator, bits: int = 32) -> int:
    """An odd value that fits into ``bits``, or one at random."""
    value = int(random.choice(NUMBERS)) if random.random() < 0.7 else int(random.integers(2**32))
    return value % 2**bits


def pick(random: np.random.Generator, count: int) -> int:
    """An index below ``count``."""
    return int(random.integers(max(count, 1)))


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """``content`` after one accident: changed, lost, repeated or added bytes."""
    at, length = pick(random, len(content)), 1 + pick(random, 64)
    changed = bytearray(content)
    match pick(random, 7):
        case 0 if content:
            changed[at] ^= 1 << pick(random, 8)
        case 1:
            changed[at : at + length] = random.bytes(len(changed[at : at + length]))
        case 2:
            changed[at : at + length] = bytes(len(changed[at : at + length]))
        case 3:
            del changed[at:]
        case 4:
            del changed[at : at + length]
        case 5:
            changed[at:at] = changed[at : at + length]
        case _:
            changed[at:at] = random.bytes(length)
    return bytes(changed)
