"""AugKD: DUKD's ingredients as its authors published them later, on images alone.

Y. Zhang et al., "AugKD: ingenious augmentations empower knowledge distillation for image super-resolution", ICLR 2025.
There is no public code, and the paper's full text was not at hand: this was put together from descriptions of it by
others and is not checked against its equations.

    L = mean |S(x) - y| + mean |S(x) - T(x)| + mean |C^-1(S(C(u))) - T(u)| + mean |D^-1(S(D(v))) - T(v)|

with u, v and the changes C and D as in DUKD. It differs from DUKD in this: the teacher is the one label of both
auxiliary images, so the reduction v is not compared with x; both are changed; all weights are 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from hkdsr.methods.dukd import DUKD


@dataclass(frozen=True)
class AugKD(DUKD):
    """Settings of AugKD: those of DUKD with other defaults, all chosen here."""

    pixel_weight: float = 1.0
    zoom_out_pixel_weight: float = 0.0
    change_zoom_out: bool = True
