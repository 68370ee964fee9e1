"""Heads that compare one tap of student and teacher, and the size of a network's features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from hkdsr.nets.base import Network

PROBE_SIDE = 48
FIRST_VARIANCE = 1.0
EPS = 1e-5


class Comparable(nn.Module):
    """Brings one tap of both networks into units of the teacher's size, and the student's to its width.

    Args:
        project: what the student's features pass. A layer takes them in units of their own size and its output is in
            the teacher's; ``nn.Identity`` leaves them as they are, to be divided like the teacher's.
        sizes: of the student's and the teacher's features.
    """

    own: Tensor
    size: Tensor

    def __init__(self, project: nn.Module, sizes: tuple[float, float]) -> None:
        super().__init__()
        own, size = sizes
        self.project = project
        self.register_buffer("own", torch.tensor(size if isinstance(project, nn.Identity) else own))
        self.register_buffer("size", torch.tensor(size))

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C_S, h, w) and (B, C_T, h, w) -> the same for ``nn.Identity``, else both (B, C_T, h, w)."""
        return self.project(student / self.own), teacher / self.size


class Gaussian(nn.Module):
    """q(t | s) = N(mu(s), v): mean by 1x1 convolution, ReLU, 1x1 convolution; one variance per channel.

    S. Ahn et al., "Variational information distillation for knowledge transfer", CVPR 2019. Ours has one hidden layer,
    as wide as the teacher. Variances start at 1, as the features are in units of their size.
    """

    def __init__(self, widths: tuple[int, int], sizes: tuple[float, float]) -> None:
        super().__init__()
        self.mean = Comparable(_perceptron(widths, nn.ReLU()), sizes)
        self.scale = nn.Parameter(torch.full((widths[1], 1, 1), math.log(math.expm1(FIRST_VARIANCE))))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Features (B, C_S, h, w), (B, C_T, h, w) -> mean of -log q but for its constant; may be negative."""
        mean, target = self.mean(student, teacher)
        variance = F.softplus(self.scale) + EPS
        return 0.5 * ((target - mean).square() / variance + variance.log()).mean()


class Laplace(nn.Module):
    """q(t | s) = Laplace(mu(s), b(s)): both by 1x1 convolution, PReLU, 1x1 convolution, at every place and channel.

    W. Lee et al., "Learning with privileged information for efficient image super-resolution", ECCV 2020. Their factor
    of 0.1 on b, which suits features smaller than in our units, is left out.
    """

    def __init__(self, widths: tuple[int, int], sizes: tuple[float, float]) -> None:
        super().__init__()
        self.mean = Comparable(_perceptron(widths, nn.PReLU()), sizes)
        self.scale = _perceptron(widths, nn.PReLU())

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """As ``Gaussian``: mean of log 2b + |t - mu| / b."""
        mean, target = self.mean(student, teacher)
        scale = F.softplus(self.scale(student / self.mean.own)) + EPS
        return ((2 * scale).log() + (target - mean).abs() / scale).mean()


@torch.no_grad()
def feature_sizes(network: Network, depths: Sequence[float]) -> list[float]:
    """Root mean square of a network's features at relative ``depths`` for one synthetic image, the same every time.

    It is 1 where all features are zero. Raises HkdsrError for a network that cannot be tapped.
    """
    like = next(network.parameters())
    taps = [network.tap_index(depth) for depth in depths]
    traced = network.trace(_synthetic_image().to(like.device, like.dtype), taps)
    return [float(tap.double().square().mean().sqrt()) or 1.0 for tap in traced.taps]


def _synthetic_image() -> Tensor:
    """Random colours at every size of detail alike, as in photographs: (1, 3, 48, 48) in [0, 1]."""
    source = torch.Generator().manual_seed(0)
    sides = [PROBE_SIDE >> octave for octave in range(5)]
    layers = [torch.rand(1, 3, side, side, generator=source) for side in sides]
    whole = [F.interpolate(layer, (PROBE_SIDE, PROBE_SIDE), mode="bilinear") for layer in layers]
    return torch.stack(whole).mean(0)


def _perceptron(widths: tuple[int, int], activation: nn.Module) -> nn.Sequential:
    inputs, outputs = widths
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), activation, nn.Conv2d(outputs, outputs, 1))
