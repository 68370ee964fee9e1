"""Images for the page: packed into data URIs within a budget, and the crops that tell most."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

# Tried in turn until the images of a comparison fit; 100 stands for lossless.
QUALITIES = (100, 92, 85, 75)


@dataclass(frozen=True)
class Packed:
    """Images as data URIs by label, and the WebP quality that all of them share: 100 is lossless."""

    uris: dict[str, str]
    quality: int


def pack(images: Mapping[str, np.ndarray], budget: int) -> Packed:
    """Encode uint8 images (H, W, 3) as WebP, all alike, in at most ``budget`` bytes of text if quality 75 allows."""
    packed = Packed({}, QUALITIES[0])
    for quality in QUALITIES:
        uris = {label: _uri(image, "WEBP", quality) for label, image in images.items()}
        packed = Packed(uris, quality)
        if sum(map(len, uris.values())) <= budget:
            break
    return packed


def png_uri(image: np.ndarray) -> str:
    """A uint8 image (H, W, 3) as a PNG data URI."""
    return _uri(image, "PNG", 100)


def telling_crops(a: np.ndarray, b: np.ndarray, hr: np.ndarray, side: int, count: int) -> list[tuple[int, int]]:
    """(top, left) of up to ``count`` squares that do not overlap and tell most, best first.

    Those are where images ``a`` and ``b`` differ most in squares, or, if they are equal, where ``hr`` has most detail
    (squared differences of neighbours). All are uint8 (H, W, 3) with H and W of at least ``side``.
    """
    difference = (a.astype(np.int32) - b).astype(np.float64)
    if not difference.any():
        difference = np.stack([np.gradient(hr.mean(axis=2), axis=axis) for axis in (0, 1)], axis=2)
    scores = _box_sums(np.square(difference).sum(axis=2), side)
    chosen: list[tuple[int, int]] = []
    while len(chosen) < count and scores.max() > -1:
        top, left = (int(place) for place in np.unravel_index(scores.argmax(), scores.shape))
        chosen.append((top, left))
        scores[max(top - side + 1, 0) : top + side, max(left - side + 1, 0) : left + side] = -1
    return chosen


def _box_sums(values: np.ndarray, side: int) -> np.ndarray:
    """Sums over all squares of ``side``: (H, W) -> (H - side + 1, W - side + 1)."""
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    return total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]


def _uri(image: np.ndarray, form: str, quality: int) -> str:
    data = BytesIO()
    if form == "PNG":
        Image.fromarray(image).save(data, form, optimize=True)
    else:
        Image.fromarray(image).save(data, form, quality=quality, lossless=quality == 100, exact=True)
    return f"data:image/{form.lower()};base64,{b64encode(data.getvalue()).decode()}"
