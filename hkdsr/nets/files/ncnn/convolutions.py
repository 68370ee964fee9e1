"""The layers of ncnn that have weights, as modules of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.nets.files.ncnn.param import Layer
from hkdsr.nets.files.ncnn.weights import Weights

Function = Callable[[Tensor], Tensor]
MOST_PIXELS = 256
"""Sides of kernels, strides and paddings above this are those of damaged files."""


@dataclass(frozen=True)
class How:
    """How a convolution runs: pairs are (height, width), ``sides`` are pixels at the left, right, top and bottom."""

    stride: tuple[int, int]
    dilation: tuple[int, int]
    sides: tuple[int, int, int, int]
    activation: Function


class Convolution(nn.Conv2d):
    """A convolution with weights (outputs, inputs of a group, height, width), padded at its sides."""

    def __init__(self, weight: Tensor, bias: Tensor | None, groups: int, how: How) -> None:
        outputs, inputs, height, width = weight.shape
        left, right, top, bottom = how.sides
        even = (left, top) == (right, bottom)
        padding = (top, left) if even else (0, 0)
        # On the meta device, as weights would be drawn otherwise.
        super().__init__(
            groups * inputs,
            outputs,
            (height, width),
            how.stride,
            padding,
            how.dilation,
            groups,
            bias is not None,
            device="meta",
        )
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.uneven = None if even else how.sides
        self.activation = how.activation

    def forward(self, input: Tensor) -> Tensor:
        return self.activation(super().forward(F.pad(input, self.uneven) if self.uneven else input))


class Deconvolution(nn.Module):
    """A transposed convolution with weights (inputs, outputs, height, width), whose output is cut at its sides."""

    def __init__(self, weight: Tensor, bias: Tensor | None, how: How) -> None:
        super().__init__()
        self.weight, self.how = nn.Parameter(weight), how
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        how = self.how
        x = F.conv_transpose2d(x, self.weight, self.bias, how.stride, dilation=how.dilation)
        left, right, top, bottom = how.sides
        return how.activation(x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right])


class Data(nn.Module):
    """A blob that is stored in the file."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self) -> Tensor:
        return self.value


def convolution(layer: Layer, weights: Weights) -> nn.Module:
    groups = layer.whole(7, 1, least=1) if layer.kind == "ConvolutionDepthWise" else 1
    if layer.whole(19) or layer.number(18):
        raise layer.fault("has weights that are computed, or is padded by a value")
    weight, bias = _weights(layer, weights)
    if weight.shape[0] % groups:
        raise layer.fault(f"has {groups} groups of {weight.shape[0]} channels")
    return Convolution(weight, bias, groups, _how(layer))


def deconvolution(layer: Layer, weights: Weights) -> nn.Module:
    if any(layer.whole(setting) for setting in (18, 19, 20, 21)):
        raise layer.fault("sets the size of its output")
    weight, bias = _weights(layer, weights)
    return Deconvolution(weight.transpose(0, 1).contiguous(), bias, _how(layer))


def prelu(layer: Layer, weights: Weights) -> nn.Module:
    slopes = weights.plain(layer.whole(0, 1, least=1))
    module = nn.PReLU(len(slopes), device="meta")
    module.weight = nn.Parameter(slopes)
    return module


def data(layer: Layer, weights: Weights) -> nn.Module:
    """Of one axis, which are channels, or of three: (1, channels, height, width)."""
    width, height, channels = (layer.whole(setting) for setting in (0, 1, 2))
    if width and not height and not channels:
        width, height, channels = 1, 1, width
    if not (width and height and channels) or layer.whole(11):
        raise layer.fault("holds no (channels, height, width)")
    read = weights.plain if layer.whole(21, 1) else weights.tagged
    return Data(read(1, channels, height, width))


def activation(layer: Layer) -> Function:
    """What a convolution does with its result: settings 9, and 10 for its numbers."""
    first, second, *_ = (*map(float, layer.numbers(10)), 0.0, 0.0)
    found: dict[int, Function] = {
        0: _as_it_is,
        1: F.relu,
        2: lambda x: F.leaky_relu(x, first),
        3: lambda x: x.clamp(first, second),
        4: torch.sigmoid,
        5: F.mish,
        6: lambda x: x * (first * x + second).clamp(0, 1),
    }
    kind = layer.whole(9)
    if kind not in found:
        raise layer.fault(f"has an activation of the kind {kind}, which is not known")
    return found[kind]


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _weights(layer: Layer, weights: Weights) -> tuple[Tensor, Tensor | None]:
    """Weight (outputs, inputs of a group, height, width) and bias (outputs)."""
    if layer.whole(8):
        raise layer.fault("has weights of 8 bits", "export it in float")
    outputs, count = layer.whole(0, least=1), layer.whole(6, least=1)
    height, width = _pair(layer, 1)
    inputs, rest = divmod(count, outputs * height * width)
    if rest or not inputs:
        raise layer.fault(f"has {count} weights, which is no multiple of {outputs}x{height}x{width}")
    weight = weights.tagged(outputs, inputs, height, width)
    return weight, weights.plain(outputs) if layer.whole(5) else None


def _pair(layer: Layer, setting: int) -> tuple[int, int]:
    """For height, in the setting 10 after that of width, and width: 1 or more."""
    width = layer.whole(setting, 1, least=1, most=MOST_PIXELS)
    return layer.whole(setting + 10, width, least=1, most=MOST_PIXELS), width


def _how(layer: Layer) -> How:
    left = layer.whole(4, most=MOST_PIXELS)
    top = layer.whole(14, left, most=MOST_PIXELS)
    right, bottom = layer.whole(15, left, most=MOST_PIXELS), layer.whole(16, top, most=MOST_PIXELS)
    return How(_pair(layer, 3), _pair(layer, 2), (left, right, top, bottom), activation(layer))
