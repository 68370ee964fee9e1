"""FAKD: the student's positions are to be as alike, one to another, as the teacher's.

Z. He et al., "FAKD: feature-affinity based knowledge distillation for efficient image super-resolution", ICIP 2020:

    L = 0.5 mean |S - G| + 0.5 mean |S - T| + spatial_weight * sum_l mean |A(F_S,l) - A(F_T,l)|

with A the cosines between the features of all pairs of positions, or (channel affinity) between all pairs of channels.
A is never held whole: memory is linear in the number of pixels. The authors' weight of 10 belongs to images in
0..255; ours are in [0, 1], hence 10/255.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.methods.features import FeatureMethod, feature_pairs, projectors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class FAKD(FeatureMethod):
    """Settings of FAKD, by default those of the authors' script (spatial affinity alone)."""

    depths: tuple[float, ...] = (0.3, 0.7, 1.0)
    """Where both networks are tapped; the authors' groups 3 and 7 of 10 and, for their convolution after the
    trunk with the skip around it, the last block."""
    pixel_weight: float = 0.5
    teacher_weight: float = 0.5
    """Weight of the L1 to the teacher's image."""
    spatial_weight: float = 10 / 255
    channel_weight: float = 0.0
    """Above 0, channels are compared too: by a 1x1 convolution to the teacher's width where the widths differ."""

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleList | None:
        """Projectors for the channel affinity, which needs equal widths; None without it."""
        return projectors(student, teachers[0], len(self.depths)) if self.channel_weight else None

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        from hkdsr.losses import channel_affinity_distance, spatial_affinity_distance

        assert inputs.teacher is not None
        pairs = feature_pairs(inputs)
        terms = {
            "pixel": self.pixel(inputs),
            "logits": self.teacher_weight * (inputs.student.final - inputs.teacher.final).abs().mean(),
        }
        if self.spatial_weight:
            spatial = [spatial_affinity_distance(s, t) for s, t in pairs]
            terms["spatial"] = self.spatial_weight * torch.stack(spatial).sum()
        if self.channel_weight:
            assert heads is not None
            both = zip(heads.children(), pairs, strict=True)
            channel = [channel_affinity_distance(project(s), t) for project, (s, t) in both]
            terms["channel"] = self.channel_weight * torch.stack(channel).sum()
        return terms
