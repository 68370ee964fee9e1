"""All that is trained, in one module: student, exits, the method's heads; its forward pass gives the loss terms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hkdsr.methods.base import Method
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, Pictures


class Distiller(nn.Module):
    """Student, exits and method heads as one module, so that devices, averaging and checkpoints treat them alike.

    The frozen teacher stays outside: its pictures come in as constants.
    """

    def __init__(self, student: Network, exits: Exits | None, method: Method) -> None:
        super().__init__()
        self.student = student
        self.exits = exits
        self.method = method
        self.heads = method.heads(student, len(exits.taps) if exits else 0)

    def forward(self, lr: Tensor, hr: Tensor, teacher: Pictures | None) -> dict[str, Tensor]:
        """LR (B, 3, p, p), HR (B, 3, scale*p, scale*p) in [0, 1], the teacher's pictures -> named loss terms."""
        pictures = self.pictures(lr)
        full = Pictures(pictures.final.float(), tuple(picture.float() for picture in pictures.exits))
        # Networks may run in bf16, but losses of nearly equal pictures would lose their digits in it.
        with torch.autocast(lr.device.type, enabled=False):
            return self.method.losses(self.heads, full, teacher, hr)

    def pictures(self, lr: Tensor) -> Pictures:
        """The student's final picture and exits."""
        if self.exits is None:
            return Pictures(self.student(lr))
        traced = self.student.trace(lr, self.exits.taps)
        return Pictures(traced.sr, self.exits(lr, traced, self.student.scale))
