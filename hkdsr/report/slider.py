"""Images to compare: a slider between two images that the reader chooses, and enlarged crops of all images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from hkdsr.errors import HkdsrError
from hkdsr.report.content import Comparison
from hkdsr.report.pixels import most_different_crops, pack, png_uri

CROPS, CROP_SIDE = 3, 64
MOST_COLUMNS = 8
# Characters of all slider images together: larger pages open slowly and are too large for e-mail.
BUDGET = 5_000_000
SIDES = ("left", "right")


def images(comparisons: Sequence[Comparison], compared: tuple[str, str]) -> str:
    """HTML of all comparisons. Raises HkdsrError for images not of one size, or if one of ``compared`` is missing."""
    budget = BUDGET // max(len(comparisons), 1)
    return "".join(_comparison(item, compared, budget) for item in comparisons)


def _comparison(item: Comparison, compared: tuple[str, str], budget: int) -> str:
    shown = {**item.images, item.reference: item.hr}
    _check(item, shown, compared)
    height, width = item.hr.shape[:2]
    side = min(CROP_SIDE, height, width)
    left, right = compared
    crops = most_different_crops(shown[left], shown[right], item.hr, side, CROPS)
    packed = pack(shown, budget)
    kind = "lossless" if packed.quality == 100 else f"WebP of quality {packed.quality}"
    return f"""
<article class="comparison" style="--width:{width};--height:{height}">
<h3>{escape(item.name)}</h3>
<div class="controls">
{"".join(_select(side, shown, start) for side, start in zip(SIDES, compared, strict=True))}
<label class="check"><input type="checkbox" data-frames checked> Mark the crops</label>
</div>
<div class="stage">
{"".join(_layer(item.name, label, uri, compared) for label, uri in packed.uris.items())}
{"".join(_frame(number, place, side, (height, width)) for number, place in enumerate(crops, start=1))}
<input type="range" min="0" max="100" step="0.5" value="50" aria-label="Where the left image ends">
<span class="handle"></span>
<span class="tag left">{escape(left)}</span><span class="tag right">{escape(right)}</span>
</div>
<ol class="crops" style="--columns:{_columns(len(shown))}">
{"".join(_crop_row(number, place, side, shown) for number, place in enumerate(crops, start=1))}
</ol>
<p class="fine">Images above are {kind}; crops show exact pixels, enlarged without smoothing.</p>
</article>"""


def _check(item: Comparison, shown: Mapping[str, np.ndarray], compared: tuple[str, str]) -> None:
    size = item.hr.shape[:2]
    for label in compared:
        if label not in shown:
            raise HkdsrError(
                f"comparison {item.name} has no image {label!r}: add it or compare two of {', '.join(shown)}"
            )
    for label, image in shown.items():
        if image.dtype != np.uint8 or image.shape != (*size, 3):
            raise HkdsrError(
                f"image {label!r} of comparison {item.name} is {image.dtype} of shape {image.shape}: "
                f"give uint8 RGB of the size of {item.reference}, {size}"
            )


def _select(side: str, labels: Iterable[str], start: str) -> str:
    options = "".join(f"<option{' selected' if label == start else ''}>{escape(label)}</option>" for label in labels)
    return f'<label>{side.capitalize()} <select data-side="{side}">{options}</select></label>'


def _layer(name: str, label: str, uri: str, compared: tuple[str, str]) -> str:
    # Where scripts are off, the two compared images are still visible.
    sides = " ".join(side for side, start in zip(SIDES, compared, strict=True) if label == start)
    return f'<img src="{uri}" alt="{escape(f"{name}: {label}")}" data-label="{escape(label)}" class="{sides}">'


def _frame(number: int, place: tuple[int, int], side: int, size: tuple[int, int]) -> str:
    (top, left), (height, width) = (100 * np.array(place) / size), (100 * side / np.array(size))
    return (
        f'<i class="frame" style="left:{left:.3f}%;top:{top:.3f}%;width:{width:.3f}%;height:{height:.3f}%">'
        f"<b>{number}</b></i>"
    )


def _columns(count: int) -> int:
    """So many crops in a line that all lines are about equally long."""
    lines = -(-count // MOST_COLUMNS)
    return -(-count // lines)


def _crop_row(number: int, place: tuple[int, int], side: int, shown: Mapping[str, np.ndarray]) -> str:
    top, left = place
    figures = "".join(
        f'<figure><img src="{png_uri(image[top : top + side, left : left + side])}" width="{side}" height="{side}" '
        f'alt="{escape(f"Crop {number}: {label}")}"><figcaption>{escape(label)}</figcaption></figure>'
        for label, image in shown.items()
    )
    return f"<li>{figures}</li>"
