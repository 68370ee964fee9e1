"""The curves in the log of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hkdsr.report.content import Curve
from hkdsr.training.log import TO_HR, TO_TEACHER

VALIDATION = "PSNR-Y on the validation images (dB)"
VALIDATION_TO_TEACHER = "PSNR-Y to the teacher on the validation images (dB)"
CURVE_POINTS = 60
"""Losses of single batches are noisy: they are averaged down to about so many points."""


def logged_curves(lines: Sequence[Mapping[str, Any]], label: str) -> list[Curve]:
    """The validation scores and every loss term in the ``lines`` of a log; ``label`` names the run."""
    scores = {
        quantity: [(line["step"], line["seconds"], line[name]) for line in lines if name in line]
        for name, quantity in ((TO_HR, VALIDATION), (TO_TEACHER, VALIDATION_TO_TEACHER))
    }
    logged = [line for line in lines if "losses" in line]
    terms = dict.fromkeys(name for line in logged for name in line["losses"])
    points = {
        name: [(line["step"], line["seconds"], line["losses"][name]) for line in logged if name in line["losses"]]
        for name in terms
    }
    losses = [Curve(label, _smoothed(values), f"Loss term: {name}") for name, values in points.items()]
    return [*(Curve(label, found, quantity) for quantity, found in scores.items() if found), *losses]


def _smoothed(points: Sequence[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    size = max(len(points) // CURVE_POINTS, 1)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], group[-1][1], sum(value for *_, value in group) / len(group)) for group in groups]
