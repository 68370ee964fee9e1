"""What methods that compare features share: taps, projections to the teacher's width, and units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.checks import require_depths, require_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class FeatureMethod(Method):
    """Settings of every method that compares features: L = pixel_weight * mean |S - G| + terms of the method.

    HkdsrError for no depth, for a depth outside (0, 1], and for a negative weight.
    """

    depths: tuple[float, ...] = (1 / 3, 2 / 3, 1.0)
    """Relative depths of the taps of both networks: the share of blocks before a tap; 1.0 is after the last block."""
    pixel_weight: float = 1.0
    """Weight of the L1 to the ground truth."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_depths(self.depths)
        require_weights(self)

    @property
    def feature_depths(self) -> tuple[float, ...]:
        return self.depths

    def pixel(self, inputs: LossInputs) -> Tensor:
        """The term named ``pixel``, weight included."""
        return self.pixel_weight * (inputs.student.final - inputs.hr).abs().mean()


@dataclass(frozen=True)
class MeasuredFeatureMethod(FeatureMethod):
    """Settings of methods whose terms are proportional to the size of the features, or to its square.

    The size differs between networks and between taps by factors of thousands: the root mean square is 0.03 after a
    third of BSRN's blocks and 443 after the last of HiT-SRF's. Without common units, no weight suits all of them.
    """

    relative: bool = True
    """Divide features by their size at the tap, which is their root mean square for a fixed synthetic image, measured
    before training. If false, features are compared without this, as in the papers."""

    def sizes(self, student: Network, teacher: Network) -> list[tuple[float, float]]:
        """The sizes of the student's and the teacher's features at each tap; all 1 if not ``relative``."""
        from hkdsr.losses.taps import feature_sizes

        if not self.relative:
            return [(1.0, 1.0)] * len(self.depths)
        return list(zip(*(feature_sizes(network, self.depths) for network in (student, teacher)), strict=True))


def feature_pairs(inputs: LossInputs) -> list[tuple[Tensor, Tensor]]:
    """Student's and teacher's features (B, C, h, w) at each tap; the teacher's are constants."""
    assert inputs.teacher is not None
    return [(s, t.detach()) for s, t in zip(inputs.student.features, inputs.teacher.features, strict=True)]


def projectors(student: Network, teacher: Network, taps: int) -> nn.ModuleList:
    """For each tap, a 1x1 convolution from the student's width to the teacher's; the identity for equal widths."""
    from torch import nn

    narrow, wide = student.channels, teacher.channels
    return nn.ModuleList(nn.Identity() if narrow == wide else nn.Conv2d(narrow, wide, 1) for _ in range(taps))


def require_batch(method: str, inputs: LossInputs, least: int) -> None:
    """Raise HkdsrError for a batch with fewer than ``least`` images, for a method that compares them."""
    if len(inputs.hr) < least:
        raise HkdsrError(
            f"{method} compares at least {least} images with one another and gets {len(inputs.hr)}: raise "
            "training.batch, or lower training.accumulate or the number of processes"
        )
