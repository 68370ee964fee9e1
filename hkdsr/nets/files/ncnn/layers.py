"""The layers of ncnn that public super-resolution networks are made of, as modules of PyTorch.

Blobs of ncnn, (channels, height, width), are tensors (B, channels, height, width) here. A blob of one axis, as pooling
over the whole image gives it, is (B, channels, 1, 1). Axes count from the channels, as 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.nets.files.ncnn.convolutions import convolution, data, deconvolution, prelu
from hkdsr.nets.files.ncnn.operations import BINARY, REDUCTIONS, UNARY
from hkdsr.nets.files.ncnn.param import Layer
from hkdsr.nets.files.ncnn.weights import Weights

Result = Tensor | tuple[Tensor, ...]
REST = -233
"""As a size: what is left."""
SIZE_OF_SECOND = "1w,1h"


class Operation(nn.Module):
    """A layer without weights: ``function`` turns tensors into one or several."""

    def __init__(self, kind: str, function: Callable[..., Result]) -> None:
        super().__init__()
        self.kind, self.function = kind, function

    def forward(self, *blobs: Tensor) -> Result:
        return self.function(*blobs)

    def extra_repr(self) -> str:
        return self.kind


def made(layer: Layer, weights: Weights) -> nn.Module:
    """The module of ``layer``, with the weights that are next in the file.

    Raises HkdsrError for a kind or setting that is not known here.
    """
    if layer.kind in WITH_WEIGHTS:
        return WITH_WEIGHTS[layer.kind](layer, weights)
    if layer.kind not in OPERATIONS:
        raise layer.fault("is of a kind that is not known here", "choose another network")
    return Operation(layer.kind, OPERATIONS[layer.kind](layer))


def _binary(layer: Layer) -> Callable[..., Result]:
    function = BINARY[layer.whole(0, most=len(BINARY) - 1)]
    if not layer.whole(1):
        return function
    value = layer.number(2)
    return lambda x: function(x, value)


def _unary(layer: Layer) -> Callable[..., Result]:
    return UNARY[layer.whole(0, most=len(UNARY) - 1)]


def _eltwise(layer: Layer) -> Callable[..., Result]:
    how, factors = layer.whole(0, most=2), layer.numbers(1)
    if factors and len(factors) != len(layer.inputs):
        raise layer.fault(f"has {len(factors)} factors for {len(layer.inputs)} blobs")

    def run(*blobs: Tensor) -> Tensor:
        total, *others = [x * factor for x, factor in zip(blobs, factors, strict=True)] if factors else blobs
        for other in others:
            total = (total * other, total + other, torch.maximum(total, other))[how]
        return total

    if factors and how != 1:
        raise layer.fault("has factors, but is no sum")
    return run


def _concat(layer: Layer) -> Callable[..., Result]:
    axis = _axis(layer, layer.whole(0, least=-3, most=2))
    return lambda *blobs: torch.cat(blobs, axis)


def _slice(layer: Layer) -> Callable[..., Result]:
    sizes, axis = layer.numbers(0), _axis(layer, layer.whole(1, least=-3, most=2))
    if len(sizes) != len(layer.outputs) or layer.settings.get(2) or any(size <= 0 and size != REST for size in sizes):
        raise layer.fault("has other sizes than blobs")

    def run(x: Tensor) -> tuple[Tensor, ...]:
        parts, start = [], 0
        for index, size in enumerate(sizes):
            length = (x.shape[axis] - start) // (len(sizes) - index) if size == REST else int(size)
            parts.append(x.narrow(axis, start, length))
            start += length
        return tuple(parts)

    return run


def _interp(layer: Layer) -> Callable[..., Result]:
    kinds = {1: "nearest", 2: "bilinear", 3: "bicubic"}
    kind, scales = layer.whole(0), (layer.number(1, 1.0), layer.number(2, 1.0))
    fixed = (layer.whole(3), layer.whole(4))
    if kind not in kinds or not all(0 < scale <= 64 for scale in scales):
        raise layer.fault("resizes in a way that is not known")
    if layer.settings.get(9, SIZE_OF_SECOND) != SIZE_OF_SECOND or any(fixed) != all(fixed):
        raise layer.fault("computes the size of its output")
    aligned = bool(layer.whole(6)) if kind > 1 else None

    def run(x: Tensor, like: Tensor | None = None) -> Tensor:
        if like is None and not any(fixed):
            return F.interpolate(x, scale_factor=scales, mode=kinds[kind], align_corners=aligned)
        size = fixed if like is None else like.shape[-2:]
        return F.interpolate(x, list(size), mode=kinds[kind], align_corners=aligned)

    return run


def _pixel_shuffle(layer: Layer) -> Callable[..., Result]:
    scale, last = layer.whole(0, 1, least=1, most=64), layer.whole(1, most=1)

    def run(x: Tensor) -> Tensor:
        # In the other order the channel of the image comes last, not first.
        return F.pixel_shuffle(x.unflatten(1, (scale**2, -1)).transpose(1, 2).flatten(1, 2) if last else x, scale)

    return run


def _pixel_unshuffle(layer: Layer) -> Callable[..., Result]:
    scale, last = layer.whole(0, 1, least=1, most=64), layer.whole(1, most=1)

    def run(x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x, scale)
        return x.unflatten(1, (-1, scale**2)).transpose(1, 2).flatten(1, 2) if last else x

    return run


def _pooling(layer: Layer) -> Callable[..., Result]:
    average = layer.whole(0, most=1)
    if layer.whole(4):
        return lambda x: x.mean((2, 3), keepdim=True) if average else x.amax((2, 3), keepdim=True)
    width, step, left, top = (
        layer.whole(key, default, default, 256) for key, default in ((1, 1), (2, 1), (3, 0), (13, 0))
    )
    kernel, steps = (layer.whole(11, width, 1, 256), width), (layer.whole(12, step, 1, 256), step)
    even = layer.whole(14, left) == left and layer.whole(15, top) == top
    if layer.whole(7) or not even or layer.whole(5) > 1 or (average and (left or top)):
        raise layer.fault("pools in a way that is not known")
    upwards = not layer.whole(5)
    if average:
        return lambda x: F.avg_pool2d(x, kernel, steps, ceil_mode=upwards)
    return lambda x: F.max_pool2d(x, kernel, steps, (top, left), ceil_mode=upwards)


def _reduction(layer: Layer) -> Callable[..., Result]:
    kind, factor = layer.whole(0), layer.number(2, 1.0)
    axes = (1, 2, 3) if layer.whole(1, 1) else tuple(_axis(layer, int(axis)) for axis in layer.numbers(3))
    if kind not in REDUCTIONS or not axes or not (layer.whole(4) or set(axes) == {2, 3}):
        raise layer.fault("reduces in a way that is not known")
    return lambda x: REDUCTIONS[kind](x, axes) * factor


def _padding(layer: Layer) -> Callable[..., Result]:
    top, bottom, left, right = (layer.whole(setting, most=256) for setting in range(4))
    if layer.whole(7) or layer.whole(8):
        raise layer.fault("pads channels")
    mode, value = ("constant", "replicate", "reflect")[layer.whole(4, most=2)], layer.number(5)
    return lambda x: F.pad(x, (left, right, top, bottom), mode, value if mode == "constant" else None)


def _crop(layer: Layer) -> Callable[..., Result]:
    starts, ends = layer.numbers(9), layer.numbers(10)
    axes = layer.numbers(11) or tuple(range(len(starts)))
    before = {axis: layer.whole(key) for axis, key in ((3, 0), (2, 1), (1, 2))}
    sizes = {axis: layer.whole(key, least=REST) for axis, key in ((3, 3), (2, 4), (1, 5))}
    after = {axis: layer.whole(key) for axis, key in ((3, 6), (2, 7), (1, 8))}
    if not len(starts) == len(ends) == len(axes):
        raise layer.fault("has other starts than ends")
    cuts = [(_axis(layer, int(axis)), int(a), int(b)) for a, b, axis in zip(starts, ends, axes, strict=True)]

    def run(x: Tensor, like: Tensor | None = None) -> Tensor:
        for axis, start, end in cuts:
            side = x.shape[axis]
            first = 0 if start == REST else start if start >= 0 else side + start
            last = side if end == REST else min(end, side) if end > 0 else side + end
            x = x.narrow(axis, first, last - first)
        for axis in () if cuts else (1, 2, 3):
            most = x.shape[axis] - before[axis] - after[axis]
            size = sizes[axis] if like is None else like.shape[axis] if axis > 1 else 0
            x = x.narrow(axis, before[axis], min(size, most) if size > 0 else most)
        return x

    return run


def _tile(layer: Layer) -> Callable[..., Result]:
    times = layer.numbers(2)
    if len(times) != 3 or not all(isinstance(count, int) and 0 < count <= 4096 for count in times):
        raise layer.fault("repeats in a way that is not known")
    return lambda x: x.repeat(1, *map(int, times))


def _axis(layer: Layer, axis: int) -> int:
    """The axis of a tensor for that of a blob, which counts from the end if it is negative."""
    if not -3 <= axis <= 2:
        raise layer.fault(f"has an axis {axis}")
    return axis + 1 if axis >= 0 else axis + 4


def _clip(layer: Layer) -> Callable[..., Result]:
    least, most = layer.number(0, -math.inf), layer.number(1, math.inf)
    return lambda x: x.clamp(least, most)


def _hard(layer: Layer) -> Callable[..., Result]:
    slope, offset, swish = layer.number(0, 0.2), layer.number(1, 0.5), layer.kind == "HardSwish"
    return lambda x: (slope * x + offset).clamp(0, 1) * (x if swish else 1)


def _relu(layer: Layer) -> Callable[..., Result]:
    slope = layer.number(0)
    return lambda x: F.leaky_relu(x, slope) if slope else F.relu(x)


def _gelu(layer: Layer) -> Callable[..., Result]:
    how = "tanh" if layer.whole(0, most=1) else "none"
    return lambda x: F.gelu(x, approximate=how)


WITH_WEIGHTS: dict[str, Callable[[Layer, Weights], nn.Module]] = {
    "Convolution": convolution,
    "ConvolutionDepthWise": convolution,
    "Deconvolution": deconvolution,
    "MemoryData": data,
    "PReLU": prelu,
}
OPERATIONS: dict[str, Callable[[Layer], Callable[..., Result]]] = {
    "BinaryOp": _binary,
    "Clip": _clip,
    "Concat": _concat,
    "Crop": _crop,
    "Dropout": lambda layer: lambda x: x,
    "Eltwise": _eltwise,
    "GELU": _gelu,
    "HardSigmoid": _hard,
    "HardSwish": _hard,
    "Interp": _interp,
    "Mish": lambda layer: F.mish,
    "Noop": lambda layer: lambda x: x,
    "Padding": _padding,
    "PixelShuffle": _pixel_shuffle,
    "Pooling": _pooling,
    "ReLU": _relu,
    "Reduction": _reduction,
    "Reorg": _pixel_unshuffle,
    "Sigmoid": lambda layer: torch.sigmoid,
    "Slice": _slice,
    "Swish": lambda layer: F.silu,
    "TanH": lambda layer: torch.tanh,
    "Tile": _tile,
    "UnaryOp": _unary,
}
