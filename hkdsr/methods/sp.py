"""SP: similarities between the images of a batch are to be the same for both networks.

F. Tung and G. Mori, "Similarity-preserving knowledge distillation", ICCV 2019:

    L = mean |S - G| + weight * sum_l ||G_S,l - G_T,l||_F^2 / B^2,   G = rows of F F^T, each divided by its length

with F the features of the B images of a batch, one row each. With ``training.accumulate`` or several processes, only
images of the same part of a batch are compared with one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.methods.features import FeatureMethod, feature_pairs, require_batch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs


@dataclass(frozen=True)
class SimilarityPreserving(FeatureMethod):
    """Settings of SP; HkdsrError for wrong depths and a negative weight.

    ``losses`` raises HkdsrError for a batch of one image.
    """

    depths: tuple[float, ...] = (1.0,)
    """Relative depths of the taps of both networks (the paper: the last features)."""
    weight: float = 3.0
    """Weight of the similarity term. The default is chosen here, so that its gradient is about as large as that of the
    pixel term. For classification, 3000 is common."""

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        require_batch("sp", inputs, 2)
        terms = [(similarities(s) - similarities(t)).square().mean() for s, t in feature_pairs(inputs)]
        return {"pixel": self.pixel(inputs), "similarity": self.weight * torch.stack(terms).sum()}


def similarities(features: Tensor) -> Tensor:
    """Features (B, C, h, w) -> G (B, B), each row of length 1."""
    import torch.nn.functional as F

    rows = features.flatten(1)
    return F.normalize(rows @ rows.mT, dim=1)
