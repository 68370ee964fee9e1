"""What a report consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """A network's numbers; None where there is none.

    ``params`` and ``macs`` (multiply-adds for a 1280x720 output) are counts, ``milliseconds`` the time per image
    of 640x360 output, ``psnr`` (dB) and ``ssim`` scores on Y, ``steps`` and ``seconds`` those of its training.
    """

    name: str
    params: int | None = None
    macs: int | None = None
    milliseconds: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    steps: int | None = None
    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """``points`` (step, seconds since the start, value) of one run; curves of the same ``quantity`` share a chart."""

    name: str
    points: Sequence[tuple[int, float, float]]
    quantity: str


@dataclass(frozen=True)
class Comparison:
    """Images of one scene by label, each uint8 RGB (H, W, 3) of the size of ``hr``, which is shown as ``reference``."""

    name: str
    images: Mapping[str, np.ndarray]
    hr: np.ndarray
    reference: str = "HR"


@dataclass(frozen=True)
class Report:
    """All that the page shows; empty parts are left out.

    ``protocol`` says how the scores were measured. ``compared`` are the labels of the two images that every slider
    starts with; the crops are taken where these differ most.
    """

    title: str
    subtitle: str
    protocol: str
    rows: Sequence[Row]
    curves: Sequence[Curve]
    comparisons: Sequence[Comparison]
    recipe_text: str
    compared: tuple[str, str]
