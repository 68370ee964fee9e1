"""MATLAB's ``imresize``: antialiased bicubic, the reduction that every published SR benchmark is made with.

The kernel is Keys' cubic convolution with a = -0.5 (Keys, "Cubic Convolution Interpolation for Digital Image
Processing", 1981), widened by 1/scale when shrinking; images continue by reflection that repeats the edge pixel.
Pillow, OpenCV and ``F.interpolate`` give other pixels, and scores on their LR images do not compare.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import TypeVar, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hkdsr.errors import HkdsrError

Pixels = TypeVar("Pixels", np.ndarray, Tensor)


@overload
def imresize(image: np.ndarray, scale: float) -> np.ndarray: ...
@overload
def imresize(image: Tensor, scale: float) -> Tensor: ...
def imresize(image: np.ndarray | Tensor, scale: float) -> np.ndarray | Tensor:
    """Resize both axes by ``scale`` (0.25 shrinks four times, 4 enlarges four times); sizes become ceil(size*scale).

    An integer image, array (H, W) or (H, W, C) of uint8 or uint16, gives an array of its type, rounded and saturated
    after each axis as MATLAB does. A float tensor (..., H, W) gives a tensor of its type on its device, neither
    rounded nor clamped, and is differentiable.

    Raises HkdsrError for a scale that is not above 0 and for an image of another type, shape or of no pixels.
    """
    if not 0 < scale < float("inf"):
        raise HkdsrError(f"the resize scale is {scale}: set it to a finite number above 0")
    if isinstance(image, Tensor):
        if not image.is_floating_point() or image.ndim < 2 or not image.numel():
            raise _unfit(image)
        # Half-precision weights would not sum to 1.
        precision = torch.promote_types(image.dtype, torch.float32)
        return _resize_axis(_resize_axis(image, -2, scale, precision), -1, scale, precision).to(image.dtype)
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or not image.size:
        raise _unfit(image)
    # Both axes scale alike, and MATLAB then takes rows first. Half-way cases are common (for x2 and x4 the weights are
    # dyadic), so the sums are in float64, where they stay exact. float32 holds either integer type.
    pixels, largest = torch.from_numpy(image.astype(np.float32)), np.iinfo(image.dtype).max
    for axis in (0, 1):
        pixels = _rounded(_resize_axis(pixels, axis, scale, torch.float64), largest)
    return pixels.contiguous().numpy().astype(image.dtype)


def imresize_rows(image: np.ndarray, scale: float, rows: slice) -> np.ndarray:
    """The ``rows`` of ``imresize(image, scale)``, in memory that does not grow with the height."""
    source, weights = (array[rows] for array in resize_weights(image.shape[0], scale))
    first, largest = source.min(), np.iinfo(image.dtype).max
    lines = torch.from_numpy(image[first : source.max() + 1].astype(np.float32))
    lines = _rounded(_summed(lines, 0, *_tensors(source - first, weights, lines.device, torch.float64)), largest)
    return _rounded(_resize_axis(lines, 1, scale, torch.float64), largest).contiguous().numpy().astype(image.dtype)


def mod_crop(image: Pixels, multiple: int) -> Pixels:
    """Cut an array (H, W) or (H, W, C) at the bottom and right so that both sizes are multiples of ``multiple``."""
    return image[: image.shape[0] // multiple * multiple, : image.shape[1] // multiple * multiple]


def bicubic_pair(hr: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """LR (h, w, 3) and HR (scale*h, scale*w, 3) as benchmarks are made: HR (H, W, 3) is cut to a multiple of the scale.

    Raises HkdsrError for an image smaller than the scale.
    """
    hr = mod_crop(hr, scale)
    return imresize(hr, 1 / scale), hr


@lru_cache(maxsize=256)
def resize_weights(size: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Source positions (out, taps) int64 and their weights (out, taps) float64 for one axis of ``size`` pixels.

    Every row of weights sums to 1; positions beyond the edges are already reflected inwards.
    """
    shrink = min(scale, 1.0)
    width = 4 / shrink
    out = np.arange(ceil(size * scale))[:, None]
    # Pixel centres, counted from 0: output centre (out + 0.5) / scale - 0.5 lies between source pixels.
    centre = (out + 0.5) / scale - 0.5
    taps = np.arange(ceil(width) + 2)
    source = np.floor(centre - width / 2).astype(np.int64) + taps
    weights = _cubic(shrink * (centre - source))
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights.any(axis=0)
    reflected = source[:, used] % (2 * size)
    reflected = np.minimum(reflected, 2 * size - 1 - reflected)
    return reflected, weights[:, used]


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _resize_axis(x: Tensor, axis: int, scale: float, precision: torch.dtype) -> Tensor:
    return _summed(x, axis, *_weights_on(x.device, x.shape[axis], scale, precision))


@lru_cache(maxsize=64)
def _weights_on(device: torch.device, size: int, scale: float, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """``resize_weights`` on ``device``: a GPU would wait for them in every step."""
    # Tensors made in inference mode could never take part in training.
    with torch.inference_mode(False):
        return _tensors(*resize_weights(size, scale), device, precision)


def _tensors(
    source: np.ndarray, weights: np.ndarray, device: torch.device, precision: torch.dtype
) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(source).to(device), torch.from_numpy(weights).to(device, precision)


def _summed(x: Tensor, axis: int, at: Tensor, shares: Tensor) -> Tensor:
    lines = x.movedim(axis, 0)
    rows = lines.reshape(lines.shape[0], -1).to(shares.dtype)
    # Each new line is a weighted sum of old lines: what embedding_bag does, without a copy per tap.
    resized = F.embedding_bag(at, rows, per_sample_weights=shares, mode="sum")
    return resized.reshape(-1, *lines.shape[1:]).movedim(0, axis)


def _rounded(pixels: Tensor, largest: int) -> Tensor:
    # Half away from zero is floor(x + 0.5), since all below zero saturates.
    return pixels.add_(0.5).floor_().clamp_(0, largest).float()


def _unfit(image: np.ndarray | Tensor) -> HkdsrError:
    return HkdsrError(
        f"cannot resize {image.dtype} of shape {tuple(image.shape)}: "
        "give a uint8 or uint16 array (H, W) or (H, W, C), or a float tensor (..., H, W)"
    )
