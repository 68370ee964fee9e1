"""Attention transfer: where both networks are active, whatever their widths.

S. Zagoruyko and N. Komodakis, "Paying more attention to attention", ICLR 2017, equation 2, with activation-based maps:

    L = mean |S - G| + weight * sum_l d(A(F_S,l), A(F_T,l)),   A(F) = Q / (||Q||_2 + 1e-6),  Q = sum_c F_c^2

where ||.||_2 is over the positions of one image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.methods.features import FeatureMethod, feature_pairs
from hkdsr.settings.choices import AtNorm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs

EPS = 1e-6


@dataclass(frozen=True)
class AttentionTransfer(FeatureMethod):
    """Settings of attention transfer."""

    weight: float = 100.0
    """Chosen here, for ``squared`` and LR crops of 48 pixels: its gradient is then of the size of the pixels'. To the
    same end ``l2`` needs about 0.1 and ``l1`` about 5. For classification 1000 is usual."""
    norm: AtNorm = "squared"
    """What d is: ``squared`` the mean over images and positions of squared differences (the authors' code); ``l2``
    the mean over images of the norm of the difference (the paper); ``l1`` the mean of absolute ones (FAKD's code)."""

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        terms = [self._distance(attention(s) - attention(t)) for s, t in feature_pairs(inputs)]
        return {"pixel": self.pixel(inputs), "attention": self.weight * torch.stack(terms).sum()}

    def _distance(self, difference: Tensor) -> Tensor:
        if self.norm == "l2":
            return difference.norm(dim=1).mean()
        return (difference.square() if self.norm == "squared" else difference.abs()).mean()


def attention(features: Tensor) -> Tensor:
    """A of (B, C, h, w): (B, h*w), of Euclidean length 1 for each image."""
    activity = features.square().sum(1).flatten(1)
    return activity / (activity.norm(dim=1, keepdim=True) + EPS)
