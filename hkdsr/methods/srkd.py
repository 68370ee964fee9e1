"""SRKD: maps of a statistic over the channels are compared at three taps.

Q. Gao et al., "Image super-resolution using knowledge distillation", ACCV 2018:

    L = mean |S - G| + weight * sum_l mean (M(F_S,l) - M(F_T,l))^2

with M, at every position, the mean over the channels, the mean of their powers, their maximum or their minimum. None of
these needs equal widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.methods.checks import require_least
from hkdsr.methods.features import MeasuredFeatureMethod, feature_pairs
from hkdsr.settings.choices import SrkdStatistic

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class SRKD(MeasuredFeatureMethod):
    """Settings of SRKD; HkdsrError for wrong depths, a negative weight and a power below 1."""

    weight: float = 0.1
    """Weight of the statistic's term. The default is chosen here, for ``mean``, so that its gradient is about as large
    as that of the pixel term after a few steps."""
    statistic: SrkdStatistic = "mean"
    """The statistic over the channels. ``mean``: of F. ``power_mean``: of |F|^power. ``max`` and ``min``: of F."""
    power: float = 2.0
    """Exponent of ``power_mean``, 1 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_least(self, 1, "power")

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleList:
        """The sizes of the features; nothing is trained."""
        from torch import nn

        from hkdsr.losses.taps import Comparable

        return nn.ModuleList(Comparable(nn.Identity(), sizes) for sizes in self.sizes(student, teachers[0]))

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        assert heads is not None
        scaled = [head(s, t) for head, (s, t) in zip(heads.children(), feature_pairs(inputs), strict=True)]
        terms = [(self._map(s) - self._map(t)).square().mean() for s, t in scaled]
        return {"pixel": self.pixel(inputs), "statistic": self.weight * torch.stack(terms).sum()}

    def _map(self, features: Tensor) -> Tensor:
        match self.statistic:
            case "mean":
                return features.mean(1)
            case "power_mean":
                return features.abs().pow(self.power).mean(1)
            case "max":
                return features.amax(1)
            case "min":
                return features.amin(1)
