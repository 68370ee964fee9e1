"""FitNet: the student's features are compared with the teacher's, its "hints".

A. Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, equation 3:

    L = mean |S - G| + weight * sum_l mean (r_l(F_S,l) - F_T,l)^2

with r_l a 1x1 convolution if the widths differ. The paper first trains with the hint and then without it. Here both
terms are trained together, as in other comparisons for super-resolution.
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
    """Settings of FitNet; HkdsrError for wrong depths and a negative weight."""

    depths: tuple[float, ...] = (0.5,)
    """Relative depths of the taps of both networks; the paper has one hint, in the middle."""
    weight: float = 0.1
    """Weight of the hint term. The default is chosen here: its gradient is then about as large as the pixel term's."""
    form: FitnetForm = "regressor"
    """``regressor``: the squared difference after a 1x1 convolution (the paper). ``channel_mean``: the L1 between the
    means over the channels, which the code of FAKD calls FitNet; it needs no convolution and compares far less."""

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
