"""FitNet: the teacher's middle features as hints for the student's.

A. Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, equation 3:

    L = mean |S - G| + weight * sum_l mean (r_l(F_S,l) - F_T,l)^2

with r_l a 1x1 convolution where the widths differ. The paper fits the hint first and trains on labels after; here, as
wherever it is compared in super-resolution, both are trained together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.methods.features import MeasuredFeatureMethod, feature_pairs, projectors
from hkdsr.settings.choices import FitnetForm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class FitNet(MeasuredFeatureMethod):
    """Settings of FitNet."""

    depths: tuple[float, ...] = (0.5,)
    """Where both networks are tapped; the paper has one hint, in the middle."""
    weight: float = 0.1
    """Chosen here: the hint's gradient is then of the size of the pixels'."""
    form: FitnetForm = "regressor"
    """``regressor``: the paper's. ``channel_mean``: what the code of FAKD calls by this name, the L1 between the means
    over the channels, which needs no regressor and says far less."""

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleList:
        from torch import nn

        from hkdsr.losses.taps import Comparable

        sizes = self.sizes(student, teachers[0])
        regress = self.form == "regressor"
        bodies = projectors(student, teachers[0], len(sizes)) if regress else [nn.Identity() for _ in sizes]
        return nn.ModuleList(Comparable(*both) for both in zip(bodies, sizes, strict=True))

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        assert heads is not None
        terms = [self._hint(*head(s, t)) for head, (s, t) in zip(heads.children(), feature_pairs(inputs), strict=True)]
        return {"pixel": self.pixel(inputs), "hint": self.weight * torch.stack(terms).sum()}

    def _hint(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.form == "channel_mean":
            return (student.mean(1) - teacher.mean(1)).abs().mean()
        return (student - teacher).square().mean()
