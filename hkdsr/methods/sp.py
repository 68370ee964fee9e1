"""SP: images that are alike to the teacher are to be alike to the student.

F. Tung and G. Mori, "Similarity-preserving knowledge distillation", ICCV 2019:

    L = mean |S - G| + weight * sum_l ||G_S,l - G_T,l||_F^2 / B^2,   G = rows of F F^T, each divided by its length

with F the features of the B images of a batch, flattened to one row each. Parts of a batch that are trained one after
the other (``training.accumulate``), or by different processes, are compared among themselves only.
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
    """Settings of SP; its losses raise HkdsrError for a batch of one image."""

    depths: tuple[float, ...] = (1.0,)
    """Where both networks are tapped; the paper takes the last features alone."""
    weight: float = 3.0
    """Chosen here: the term's gradient is then of the size of the pixels'. For classification 3000 is usual."""

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        require_batch("sp", inputs, 2)
        terms = [(similarities(s) - similarities(t)).square().mean() for s, t in feature_pairs(inputs)]
        return {"pixel": self.pixel(inputs), "similarity": self.weight * torch.stack(terms).sum()}


def similarities(features: Tensor) -> Tensor:
    """G of (B, C, h, w): (B, B), each row of length 1."""
    import torch.nn.functional as F

    rows = features.flatten(1)
    return F.normalize(rows @ rows.mT, dim=1)
