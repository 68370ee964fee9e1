"""VID: how well the student's features tell the teacher's, as a likelihood.

S. Ahn et al., "Variational information distillation for knowledge transfer", CVPR 2019:

    L = mean |S - G| - weight * sum_l mean log q_l(F_T,l | F_S,l)

with q_l a Gaussian (there), or the Laplace distribution of PISR (W. Lee et al., "Learning with privileged information
for efficient image super-resolution", ECCV 2020). Its parameters are trained with the student. PISR's other
half, a teacher that sees the ground truth, is not part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.methods.features import MeasuredFeatureMethod, feature_pairs
from hkdsr.settings.choices import VidPdf

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class VID(MeasuredFeatureMethod):
    """Settings of VID."""

    weight: float = 0.1
    """Chosen here: the likelihood's gradient is then of the size of the pixels'."""
    pdf: VidPdf = "gaussian"

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleList:
        from torch import nn

        from hkdsr.losses.taps import Gaussian, Laplace

        kind = Gaussian if self.pdf == "gaussian" else Laplace
        widths = (student.channels, teachers[0].channels)
        return nn.ModuleList(kind(widths, sizes) for sizes in self.sizes(student, teachers[0]))

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        assert heads is not None
        terms = [head(s, t) for head, (s, t) in zip(heads.children(), feature_pairs(inputs), strict=True)]
        return {"pixel": self.pixel(inputs), "likelihood": self.weight * torch.stack(terms).sum()}
