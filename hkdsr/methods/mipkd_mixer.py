"""The feature mixer of MiPKD: an encoder for each network, with a common code and a common decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hkdsr.nets.families.layers import conv3x3


class Mixer(nn.Module):
    """Mixes the features of student and teacher at one tap into features of the teacher's width.

    The encoders are 1x1 convolutions, the decoder is a 3x3 one, and the code is as wide as the teacher. A further 1x1
    convolution, ``narrow``, goes from the teacher's width to the student's. Layers between equal widths start as the
    identity, so that a student that equals its teacher passes unchanged.

    Args:
        widths: channels of the student's and the teacher's features.
        sizes: of the student's and the teacher's features (``hkdsr.losses.taps.feature_sizes``). The layers work on
            features divided by them.
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
        """The code (B, C_T, h, w) of features (B, C, h, w) of the student or the teacher."""
        return self.encode_student(features / self.own) if of_student else self.encode_teacher(features / self.size)

    def forward(self, code: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """The mixed features (B, C_T, h, w), divided by the teacher's size.

        They are decoded from ``code`` where ``mask`` (C_T, h, w) is true and from the teacher's code elsewhere.
        """
        return self.decode(torch.where(mask, code, self.code(teacher, of_student=False)))

    def distance(self, mixed: Tensor, teacher: Tensor) -> Tensor:
        """Mean |mixed - F_T / size|, a scalar, for features as ``forward`` gives them."""
        return (mixed - teacher / self.size).abs().mean()

    def reconstruction_error(self, teacher: Tensor) -> Tensor:
        """The L1 of two reconstructions of the teacher's features: from their code, and through the student's width."""
        direct = self.decode(self.code(teacher, of_student=False))
        through_student = self.decode(self.encode_student(self.narrow(teacher / self.size)))
        return self.distance(direct, teacher) + self.distance(through_student, teacher)

    def to_teacher(self, mixed: Tensor) -> Tensor:
        """Mixed features as input of the teacher's next block."""
        return mixed * self.size

    def to_student(self, mixed: Tensor) -> Tensor:
        """Mixed features as input of the student's next block."""
        return self.narrow(mixed) * self.own
