"""SRKD: statistics over the channels, as maps, at three stages.

Q. Gao et al., "Image super-resolution using knowledge distillation", ACCV 2018:

    L = mean |S - G| + weight * sum_l mean (M(F_S,l) - M(F_T,l))^2

with M, at every position, the mean over the channels, the mean of their powers, the largest or the smallest. None of
them needs equal widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.features import MeasuredFeatureMethod, feature_pairs
from hkdsr.settings.choices import SrkdStatistic

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class SRKD(MeasuredFeatureMethod):
    """Settings of SRKD; HkdsrError for a power below 1."""

    weight: float = 0.1
    """Chosen here, for the mean: its gradient soon is of the size of the pixels'."""
    statistic: SrkdStatistic = "mean"
    power: float = 2.0
    """p of ``power_mean``, the mean over the channels of |F|^p."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.power < 1:
            raise HkdsrError(f"method.power is {self.power}: set it to 1 or more")

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleList:
        """Nothing to train: the units in which features are compared."""
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
