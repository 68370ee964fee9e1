"""The inputs of a method's losses in one training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hkdsr.nets.base import Network
from hkdsr.nets.exits import Outputs


@dataclass(frozen=True)
class LossInputs:
    """The batch and the outputs of both networks for it.

    Attributes:
        lr: LR images (B, 3, p, p) in [0, 1].
        hr: HR images (B, 3, scale*p, scale*p) in [0, 1], the ground truth; constants. With ``target = "teacher"``
            these are the teacher's images, ``teacher.final``.
        student: the student's outputs, with gradient. Features and exits, here and of the teacher, are those of every
            n-th image, from the first, where the method's ``strides`` say so.
        teacher: the teacher's outputs, constants; None for a method without a teacher.
        student_network: the student.
        teacher_networks: the recipe's teacher, then those of ``more_teachers``.
        autocast: the precision in which networks run. Losses are computed outside it, in full precision.
    """

    lr: Tensor
    hr: Tensor
    student: Outputs
    teacher: Outputs | None = None
    student_network: Network | None = None
    teacher_networks: Sequence[Network] = ()
    autocast: torch.autocast | None = field(default=None, repr=False)

    def student_on(self, lr: Tensor) -> Tensor:
        """The student's image for another LR batch (B, 3, h, w), float32 and not clamped, with gradient."""
        assert self.student_network is not None
        return self._run(self.student_network, lr)

    @torch.no_grad()
    def teacher_on(self, lr: Tensor, index: int = 0) -> Tensor:
        """The image of teacher ``index`` for another LR batch, float32 and clamped to [0, 1], without gradient."""
        return self._run(self.teacher_networks[index], lr).clamp(0, 1)

    def _run(self, network: Network, lr: Tensor) -> Tensor:
        if self.autocast is None:
            return network(lr)
        with self.autocast:
            return network(lr).float()


def every(stride: int, images: Tensor) -> Tensor:
    """Every ``stride``-th of ``images`` (B, ...), from the first: (ceil(B / stride), ...)."""
    return images if stride == 1 else images[::stride]
