"""AugKD: the terms of DUKD as its authors published them later, with the teacher's images as the only targets.

Y. Zhang et al., "AugKD: ingenious augmentations empower knowledge distillation for image super-resolution", ICLR 2025.
There is no public code and the full text of the paper was not available: this follows descriptions of it by others and
is not checked against its equations.

    L = mean |S(x) - y| + mean |S(x) - T(x)| + mean |C^-1(S(C(u))) - T(u)| + mean |D^-1(S(D(v))) - T(v)|

with u, v and the changes C and D as in DUKD. It differs from DUKD: the teacher's image is the only target for both
additional images, so S(v) is not compared with x; both images are changed; all weights are 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from hkdsr.methods.dukd import DUKD


@dataclass(frozen=True)
class AugKD(DUKD):
    """Settings of AugKD: those of DUKD with other defaults, which are all chosen here; HkdsrError as for DUKD."""

    pixel_weight: float = 1.0
    """Weight of the L1 to the ground truth."""
    zoom_out_pixel_weight: float = 0.0
    """Weight of the L1 between S(v) and the LR image x; AugKD has no such term."""
    change_zoom_out: bool = True
    """Apply the changes D to the student's input v."""
