"""DUKD: the teacher is asked about more images than the batch has, and about changed ones.

Y. Zhang et al., "Data upcycling knowledge distillation for image super-resolution", arXiv 2309.14162:

    L = a mean |S(x) - y| + b mean |S(x) - T(x)|
        + zoom_in_weight * mean |C^-1(S(C(u))) - T(u)|
        + zoom_out_pixel_weight * mean |S(v) - x| + zoom_out_weight * mean |S(v) - T(v)|

with u a random tile of the ground truth y as large as x ("zoom-in": it has no ground truth), v the bicubic reduction of
x ("zoom-out": x is its ground truth), and C random changes that can be undone ("label consistency"). The weights are
those of the authors' EDSR; their RCAN has zoom-in alone, unchanged, and all weights 1. Their code undoes a
transposition and a flip in the wrong order; here C^-1 is the inverse of C. Their start from an x2 student is
``init = "student"``. Their code steps once for the batch and once more for the zooms, whose tiles lie at the same place
in every image of a batch; here it is one step, and a place for each image.

Beside output distillation, a step costs one pass of each network on tiles as large as x, and one on images 1/scale
as wide and high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.checks import require_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs


@dataclass(frozen=True)
class DUKD(Method):
    """Settings of DUKD; HkdsrError for a negative weight and a probability outside [0, 1].

    A zoom whose weights are 0 is not computed.
    """

    pixel_weight: float = 5.0
    teacher_weight: float = 1.0
    """Weight of the L1 to the teacher's image of the batch."""
    zoom_in_weight: float = 1.0
    zoom_out_pixel_weight: float = 5.0
    """Weight of the L1 to the LR image, which is the ground truth of its own reduction."""
    zoom_out_weight: float = 1.0
    """Weight of the L1 to the teacher's image of the reduction."""
    probability: float = 0.3
    """That of each change for each image: inverted colours, either flip, transposition. 0: no label consistency."""
    change_zoom_out: bool = False
    """Let the reduction that the student sees be changed as well."""

    uses_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_weights(self)
        if not 0 <= self.probability <= 1:
            raise HkdsrError(f"method.probability is {self.probability}: set it to a value from 0 to 1")

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        assert inputs.teacher is not None
        final = inputs.student.final
        terms = {
            "pixel": self.pixel_weight * (final - inputs.hr).abs().mean(),
            "logits": self.teacher_weight * (final - inputs.teacher.final).abs().mean(),
        }
        if self.zoom_in_weight:
            terms["zoom_in"] = self.zoom_in_weight * zoom_in(inputs, self.probability)
        if self.zoom_out_pixel_weight or self.zoom_out_weight:
            terms |= self._zoom_out(inputs)
        return terms

    def _zoom_out(self, inputs: LossInputs) -> dict[str, Tensor]:
        from hkdsr.methods.zoom import consistent, reduced

        small, whole = reduced(inputs.lr, _scale(inputs))
        student = consistent(inputs.student_on, small, self.probability if self.change_zoom_out else 0.0)
        terms = {}
        if self.zoom_out_pixel_weight:
            terms["zoom_out_pixel"] = self.zoom_out_pixel_weight * (student - whole).abs().mean()
        if self.zoom_out_weight:
            terms["zoom_out"] = self.zoom_out_weight * (student - inputs.teacher_on(small)).abs().mean()
        return terms


def zoom_in(inputs: LossInputs, probability: float) -> Tensor:
    """mean |C^-1(S(C(u))) - T(u)|, a scalar: u a random tile of each ground truth, C changes of this probability.

    For methods with ``uses_networks``; it costs a pass of the student and one of the teacher.
    """
    from hkdsr.methods.zoom import consistent, random_tiles

    tiles = random_tiles(inputs.hr, _scale(inputs))
    return (consistent(inputs.student_on, tiles, probability) - inputs.teacher_on(tiles)).abs().mean()


def _scale(inputs: LossInputs) -> int:
    return inputs.hr.shape[-1] // inputs.lr.shape[-1]
