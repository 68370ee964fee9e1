"""Layers that several families share, and helpers for their ``recognise`` methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean red, green and blue of the DIV2K training images, in [0, 1]."""

SQUEEZE = 16
"""The hidden layer of ``ContrastAttention`` has this many times fewer channels than its input."""

POOL = 7
POOL_STRIDE = 3
SMALLEST = 2 * POOL + 1


class MeanShift(nn.Module):
    """An image (B, 3, h, w) in 0..255 plus ``sign`` times the mean colour of DIV2K.

    A 1x1 convolution, as in published files; its weights are buffers because they are never trained.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(3).reshape(3, 3, 1, 1))
        self.register_buffer("bias", sign * 255.0 * torch.tensor(DIV2K_MEAN))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias)


class Upsampler(nn.Sequential):
    """Features (B, C, h, w) -> (B, C, scale*h, scale*w) by sub-pixel convolution (Shi et al., CVPR 2016).

    x4 is done as x2 twice.
    """

    def __init__(self, scale: int, features: int) -> None:
        factors = (2, 2) if scale == 4 else (scale,)
        stages = [(conv3x3(features, factor**2 * features), nn.PixelShuffle(factor)) for factor in factors]
        super().__init__(*(layer for stage in stages for layer in stage))


class ContrastAttention(nn.Module):
    """CCA: a gate per channel, computed from its contrast (standard deviation) and mean; keeps the shape.

    Source: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        squeezed = features // SQUEEZE
        self.conv_du = nn.Sequential(
            nn.Conv2d(features, squeezed, 1), nn.ReLU(inplace=True), nn.Conv2d(squeezed, features, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        # Runtimes that networks are traced for know means alone.
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
            mean = x.mean((-2, -1), keepdim=True)
            deviation = (x - mean).square().mean((-2, -1), keepdim=True).sqrt()
        else:
            deviation, mean = torch.std_mean(x, dim=(-2, -1), correction=0, keepdim=True)
        return x * self.conv_du(deviation + mean)


class SpatialAttention(nn.Module):
    """ESA: a gate per pixel and channel, computed at low resolution with few channels; keeps the shape.

    ``convolution`` makes the two 3x3 convolutions and takes the arguments of nn.Conv2d. After the pooling there is one,
    as in RLFN; networks with more override ``refine``.

    Source: Liu et al., "Residual Feature Aggregation Network for Image Super-Resolution", CVPR 2020.
    """

    def __init__(self, features: int, esa_channels: int, convolution: Callable[..., nn.Module] = nn.Conv2d) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, esa_channels, 1)
        self.conv_f = nn.Conv2d(esa_channels, esa_channels, 1)
        self.conv2 = convolution(esa_channels, esa_channels, 3, stride=2)
        self.conv3 = convolution(esa_channels, esa_channels, 3, padding=1)
        self.conv4 = nn.Conv2d(esa_channels, features, 1)

    def refine(self, pooled: Tensor) -> Tensor:
        """The pooled map (B, esa_channels, h', w') -> the same shape."""
        return self.conv3(pooled)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        narrow = self.conv1(x)
        # The strided convolution and the pooling need 15x15 pixels; smaller maps are padded by replication.
        missing = (0, max(SMALLEST - w, 0), 0, max(SMALLEST - h, 0))
        wide = F.pad(narrow, missing, mode="replicate") if any(missing) else narrow
        coarse = self.refine(F.max_pool2d(self.conv2(wide), POOL, POOL_STRIDE))
        coarse = F.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(coarse + self.conv_f(narrow)))


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def require_positive(counts: Mapping[str, int]) -> None:
    """Raise HkdsrError, naming the setting, if one of ``counts`` is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise HkdsrError(f"{name} is {count}: set it to 1 or more")


def sequence_length(state: Mapping[str, Tensor], prefix: str) -> int:
    """Number of children of the module list ``prefix``: 1 + the largest index after ``prefix.``, or 0."""
    start = f"{prefix}."
    indices = (name[len(start) :].split(".")[0] for name in state if name.startswith(start))
    return 1 + max((int(index) for index in indices if index.isdigit()), default=-1)


def upsampler_scale(state: Mapping[str, Tensor], prefix: str) -> int:
    """Scale of the ``Upsampler`` named ``prefix``, from the shapes of its convolutions."""
    outputs, inputs = state[f"{prefix}.0.weight"].shape[:2]
    return 3 if outputs == 9 * inputs else 2 ** ((sequence_length(state, prefix) + 1) // 2)
