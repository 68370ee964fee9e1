"""What methods that compare features have in common: where they tap, and how different widths and units meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.checks import require_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class FeatureMethod(Method):
    """Settings of every method that compares features: L = pixel_weight * mean |S - G| + its own terms.

    Raises HkdsrError for no depth, for one outside (0, 1], and for a negative weight.
    """

    depths: tuple[float, ...] = (1 / 3, 2 / 3, 1.0)
    """Where both networks are tapped: after these shares of their blocks, 1.0 being the last."""
    pixel_weight: float = 1.0
    """Weight of the L1 to the ground truth."""

    def __post_init__(self) -> None:
        require_depths(self.depths)
        require_weights(self)

    @property
    def feature_depths(self) -> tuple[float, ...]:
        return self.depths

    def pixel(self, inputs: LossInputs) -> Tensor:
        """The term named ``pixel``."""
        return self.pixel_weight * (inputs.student.final - inputs.hr).abs().mean()


@dataclass(frozen=True)
class MeasuredFeatureMethod(FeatureMethod):
    """Of these, the methods whose terms grow with the size of the teacher's features.

    That size differs from network to network and from tap to tap by factors of thousands: the root mean square is 0.03
    after a third of BSRN and 443 at the end of HiT-SRF. A single weight for all of them means nothing.
    """

    relative: bool = True
    """Compare in units of the size of the teacher's features at that tap: their root mean square, measured once on a
    fixed synthetic image. Without it features are compared as they are, as in the papers."""

    def sizes(self, student: Network, teacher: Network) -> list[tuple[float, float]]:
        """The sizes of the student's and the teacher's features at each tap: 1 for all unless ``relative``."""
        from hkdsr.losses.taps import feature_sizes

        if not self.relative:
            return [(1.0, 1.0)] * len(self.depths)
        return list(zip(*(feature_sizes(network, self.depths) for network in (student, teacher)), strict=True))


def require_depths(depths: tuple[float, ...]) -> None:
    """Raise HkdsrError unless there are depths, all in (0, 1]."""
    if not depths or not all(0 < depth <= 1 for depth in depths):
        raise HkdsrError(f"method.depths is {depths}: set one or more, each above 0 and at most 1")


def feature_pairs(inputs: LossInputs) -> list[tuple[Tensor, Tensor]]:
    """Student's and teacher's features (B, C, h, w) at each tap; the teacher's are constants."""
    assert inputs.teacher is not None
    return [(s, t.detach()) for s, t in zip(inputs.student.features, inputs.teacher.features, strict=True)]


def projectors(student: Network, teacher: Network, taps: int) -> nn.ModuleList:
    """For each tap a 1x1 convolution from the student's width to the teacher's, or nothing where they are equal."""
    from torch import nn

    narrow, wide = student.channels, teacher.channels
    return nn.ModuleList(nn.Identity() if narrow == wide else nn.Conv2d(narrow, wide, 1) for _ in range(taps))


def require_batch(method: str, inputs: LossInputs, least: int) -> None:
    """Raise HkdsrError for a batch in which there are fewer images than the method needs to compare them."""
    if len(inputs.hr) < least:
        raise HkdsrError(
            f"{method} compares the images of a batch and was given {len(inputs.hr)}: set training.batch so that "
            f"each process's share, and each of its training.accumulate parts, has {least} or more"
        )
