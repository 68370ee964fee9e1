"""Training without a teacher, and plain output distillation: the two baselines of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hkdsr.methods.base import Method
from hkdsr.methods.checks import require_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs


@dataclass(frozen=True)
class Plain(Method):
    """``none``: L = mean |S - G|; with student exits, each adds ``exit_weight`` times its L1 to the ground truth.

    HkdsrError for a negative weight.
    """

    exit_weight: float = 0.0
    """Weight of each exit's L1; above 0 the student trains with exits."""

    uses_teacher: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_weights(self)

    @property
    def uses_exits(self) -> bool:
        return self.exit_weight > 0

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        terms = {"pixel": (inputs.student.final - inputs.hr).abs().mean()}
        for index, image in enumerate(inputs.student.exits):
            terms[f"exit{index + 1}"] = self.exit_weight * (image - inputs.hr).abs().mean()
        return terms


@dataclass(frozen=True)
class Logits(Method):
    """Output distillation: L = a mean |S - G| + b mean |S - T| (FAKD and DCKD code; there is no temperature).

    HkdsrError for a negative weight.
    """

    pixel_weight: float = 1.0
    teacher_weight: float = 1.0

    def __post_init__(self) -> None:
        require_weights(self)

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        assert inputs.teacher is not None
        student = inputs.student.final
        return {
            "pixel": self.pixel_weight * (student - inputs.hr).abs().mean(),
            "logits": self.teacher_weight * (student - inputs.teacher.final).abs().mean(),
        }
