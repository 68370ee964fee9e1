"""The two distributions of VID: heads that predict the teacher's features from the student's, with their likelihood."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.losses.taps import Comparable

FIRST_VARIANCE = 1.0
EPS = 1e-5


class Gaussian(nn.Module):
    """q(t | s) = N(mu(s), v): mu is a 1x1 convolution, a ReLU and a 1x1 convolution; v is one variance per channel.

    S. Ahn et al., "Variational information distillation for knowledge transfer", CVPR 2019. Here there is one hidden
    layer, as wide as the teacher. Variances start at 1, since the features are in units of their size.
    """

    def __init__(self, widths: tuple[int, int], sizes: tuple[float, float]) -> None:
        super().__init__()
        self.mean = Comparable(_perceptron(widths, nn.ReLU()), sizes)
        self.scale = nn.Parameter(torch.full((widths[1], 1, 1), math.log(math.expm1(FIRST_VARIANCE))))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Features (B, C_S, h, w), (B, C_T, h, w) -> mean of -log q without its constant, a scalar; may be negative."""
        mean, target = self.mean(student, teacher)
        variance = F.softplus(self.scale) + EPS
        return 0.5 * ((target - mean).square() / variance + variance.log()).mean()


class Laplace(nn.Module):
    """q(t | s) = Laplace(mu(s), b(s)): each is a 1x1 convolution, a PReLU and a 1x1 convolution, for every entry.

    W. Lee et al., "Learning with privileged information for efficient image super-resolution", ECCV 2020. Their factor
    of 0.1 on b, which suits features that are smaller than in the units here, is left out.
    """

    def __init__(self, widths: tuple[int, int], sizes: tuple[float, float]) -> None:
        super().__init__()
        self.mean = Comparable(_perceptron(widths, nn.PReLU()), sizes)
        self.scale = _perceptron(widths, nn.PReLU())

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """As for ``Gaussian``: the mean of log 2b + |t - mu| / b."""
        mean, target = self.mean(student, teacher)
        scale = F.softplus(self.scale(student / self.mean.own)) + EPS
        return ((2 * scale).log() + (target - mean).abs() / scale).mean()


def _perceptron(widths: tuple[int, int], activation: nn.Module) -> nn.Sequential:
    inputs, outputs = widths
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), activation, nn.Conv2d(outputs, outputs, 1))
