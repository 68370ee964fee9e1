"""FAKD: the similarities between the positions of an image are to be the same in both networks' features.

Z. He et al., "FAKD: feature-affinity based knowledge distillation for efficient image super-resolution", ICIP 2020:

    L = pixel_weight * mean |S - G| + teacher_weight * mean |S - T|
        + spatial_weight * sum_l mean |A(F_S,l) - A(F_T,l)| + channel_weight * sum_l mean |B(F_S,l) - B(F_T,l)|

with A the cosines between the features of all pairs of positions (spatial affinity), and B those between all pairs of
channels (channel affinity). A is never stored as a whole: memory is linear in the number of pixels. The authors' weight
of 10 is for images in 0..255; images here are in [0, 1], hence 10/255.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Strides
from hkdsr.methods.checks import require_least
from hkdsr.methods.features import FeatureMethod, feature_pairs, projectors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class FAKD(FeatureMethod):
    """Settings of FAKD, by default those of the authors' script (spatial affinity only).

    HkdsrError for wrong depths and a negative weight.
    """

    depths: tuple[float, ...] = (0.3, 0.7, 1.0)
    """Relative depths of the taps of both networks. The authors' taps are groups 3 and 7 of 10, and the trunk's output
    with its skip connection; the last block takes its place."""
    pixel_weight: float = 0.5
    """Weight of the L1 to the ground truth."""
    teacher_weight: float = 0.5
    """Weight of the L1 to the teacher's image."""
    spatial_weight: float = 10 / 255
    """Weight of the spatial affinity; 0: it is not computed."""
    channel_weight: float = 0.0
    """Weight of the channel affinity; 0: it is not computed. For different widths, a trained 1x1 convolution brings the
    student's features to the teacher's width."""
    affinity_every: int = 1
    """Compare the features of every n-th crop of a batch only, on which alone the teacher then runs; 1, all of them, is
    the published method. The expected gradient is the same."""
    affinity_samples: int | None = None
    """Number of random positions whose spatial affinities to all positions are compared; by default all, as published.
    The expected gradient is the same."""

    affinity_stored: bool = False
    """Keep the teacher's features on the disk like its images, so that it need not run in every step: 24 coordinates of
    each position in 8 bits (``hkdsr.nets.feature_images``), which changes the affinities by a few percent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_least(self, 1, "affinity_every", "affinity_samples")
        if self.affinity_stored and self.channel_weight:
            raise HkdsrError(
                "method.affinity_stored is true, but channels are only compared with the teacher's own: set "
                "method.channel_weight to 0, or affinity_stored to false"
            )

    @property
    def stores_features(self) -> bool:
        return self.affinity_stored

    @property
    def strides(self) -> Strides:
        return Strides(features=self.affinity_every)

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleList | None:
        """1x1 convolutions for the channel affinity, which needs equal widths; None without it."""
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
            spatial = [spatial_affinity_distance(s, t, self.affinity_samples) for s, t in pairs]
            terms["spatial"] = self.spatial_weight * torch.stack(spatial).sum()
        if self.channel_weight:
            assert heads is not None
            both = zip(heads.children(), pairs, strict=True)
            channel = [channel_affinity_distance(project(s), t) for project, (s, t) in both]
            terms["channel"] = self.channel_weight * torch.stack(channel).sum()
        return terms
