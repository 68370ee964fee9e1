"""The feature mixer of MiPKD: two encoders to one code, which a decoder reads wherever its entries came from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hkdsr.nets.families.layers import conv3x3


class Mixer(nn.Module):
    """Mixes one tap of student and teacher into features of the teacher's kind.

    Encoders are 1x1 convolutions, the decoder a 3x3 one, and the code is as wide as the teacher; a further 1x1
    convolution, ``narrow``, takes features of the teacher's kind to the student's. Layers between equal widths start as
    the identity: a student that equals its teacher then passes unchanged.

    Args:
        widths: channels of the student's and the teacher's features.
        sizes: of both; layers take and give features divided by them.
    """

    own: Tensor
    size: Tensor

    def __init__(self, widths: tuple[int, int], sizes: tuple[float, float]) -> None:
        super().__init__()
        own, wide = widths
        self.register_buffer("own", torch.tensor(sizes[0]))
        self.register_buffer("size", torch.tensor(sizes[1]))
        self.encode_student = nn.Conv2d(own, wide, 1)
        self.encode_teacher = nn.Conv2d(wide, wide, 1)
        self.decode = conv3x3(wide, wide)
        self.narrow = nn.Conv2d(wide, own, 1)
        for layer in (self.encode_student, self.encode_teacher, self.decode, self.narrow):
            if layer.in_channels == layer.out_channels:
                nn.init.dirac_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def code(self, features: Tensor, of_student: bool) -> Tensor:
        """The code (B, C_T, h, w) of a network's features."""
        return self.encode_student(features / self.own) if of_student else self.encode_teacher(features / self.size)

    def forward(self, code: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """What is decoded from ``code`` where ``mask`` (C_T, h, w) is true, and elsewhere from the teacher's own code.

        It is in units of the teacher's size: ``to_teacher`` and ``to_student`` give what blocks take.
        """
        return self.decode(torch.where(mask, code, self.code(teacher, of_student=False)))

    def away(self, mixed: Tensor, teacher: Tensor) -> Tensor:
        """Mean |mixed - F_T|, in units of the teacher's size."""
        return (mixed - teacher / self.size).abs().mean()

    def rebuilding_error(self, teacher: Tensor) -> Tensor:
        """How far the teacher's features come back changed, through their code and through the student's kind."""
        direct = self.decode(self.code(teacher, of_student=False))
        around = self.decode(self.encode_student(self.narrow(teacher / self.size)))
        return self.away(direct, teacher) + self.away(around, teacher)

    def to_teacher(self, mixed: Tensor) -> Tensor:
        """Mixed features as the teacher's next block takes them."""
        return mixed * self.size

    def to_student(self, mixed: Tensor) -> Tensor:
        """Mixed features as the student's next block takes them."""
        return self.narrow(mixed) * self.own
