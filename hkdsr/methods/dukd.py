"""DUKD: the teacher's images of additional inputs, which are made from the batch, and of changed inputs.

Y. Zhang et al., "Data upcycling knowledge distillation for image super-resolution", arXiv 2309.14162:

    L = pixel_weight * mean |S(x) - y| + teacher_weight * mean |S(x) - T(x)|
        + zoom_in_weight * mean |C^-1(S(C(u))) - T(u)|
        + zoom_out_pixel_weight * mean |S(v) - x| + zoom_out_weight * mean |S(v) - T(v)|

with u a random tile of the ground truth y as large as x ("zoom-in": u has no ground truth), v the bicubic reduction of
x ("zoom-out": x is its ground truth), and C random changes that can be undone ("label consistency"). The default
weights are the authors' for EDSR; for RCAN they use zoom-in alone, without changes, and weights of 1.

Differences from the authors' code: it undoes a transposition and a flip in the wrong order; here C^-1 is the inverse of
C. It takes one step for the batch and one for the zooms, whose tiles have the same place in every image; here there is
one step, and each image has its own place. Its start from an x2 student is ``init = "student"``.

In addition to output distillation, a step costs one pass of each network on tiles as large as x, and one on images of
1/scale of the width and height.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hkdsr.methods.base import Method
from hkdsr.methods.checks import require_fractions, require_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs


@dataclass(frozen=True)
class DUKD(Method):
    """Settings of DUKD; HkdsrError for a negative weight and a probability outside [0, 1].

    Terms whose weights are 0 are not computed.
    """

    pixel_weight: float = 5.0
    """Weight of the L1 to the ground truth."""
    teacher_weight: float = 1.0
    """Weight of the L1 to the teacher's image."""
    zoom_in_weight: float = 1.0
    """Weight of the L1 to the teacher's image of the tile u."""
    zoom_out_pixel_weight: float = 5.0
    """Weight of the L1 between S(v) and the LR image x, which is the ground truth of v."""
    zoom_out_weight: float = 1.0
    """Weight of the L1 to the teacher's image of the reduction v."""
    probability: float = 0.3
    """Probability of each change for each image: inverted colours, horizontal flip, vertical flip, transposition.
    0: no label consistency."""
    change_zoom_out: bool = False
    """Apply random changes to the student's input v, too, as to u."""

    uses_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_weights(self)
        require_fractions(self, "probability")

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
    """mean |C^-1(S(C(u))) - T(u)|, a scalar: u is a random tile of each ground truth, C changes of this probability.

    For methods with ``uses_networks``. It costs one pass of the student and one of the teacher.
    """
    from hkdsr.methods.zoom import consistent, random_tiles

    tiles = random_tiles(inputs.hr, _scale(inputs))
    return (consistent(inputs.student_on, tiles, probability) - inputs.teacher_on(tiles)).abs().mean()


def _scale(inputs: LossInputs) -> int:
    return inputs.hr.shape[-1] // inputs.lr.shape[-1]
