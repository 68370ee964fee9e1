"""Resizing by a random kernel and factor, without a filter against aliasing, as Real-ESRGAN does it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from hkdsr.settings.degrade import Range

KERNELS = ("area", "bilinear", "bicubic")


def random_factor(weights: tuple[float, ...], limits: Range, random: np.random.Generator) -> float:
    """A factor by which the sides change: above 1, below 1 or 1, by the ``weights`` of these three cases."""
    share = np.array(weights) / sum(weights)
    case = int(random.choice(3, p=share))
    return (random.uniform(1, limits[1]), random.uniform(limits[0], 1), 1.0)[case]


def random_kernel(random: np.random.Generator) -> str:
    """One of the three kernels."""
    return KERNELS[int(random.integers(len(KERNELS)))]


def resized(image: np.ndarray, size: tuple[int, int], kernel: str) -> np.ndarray:
    """float32 (3, H, W) resized to ``size`` (height, width) by PyTorch's interpolation; not clamped."""
    if image.shape[1:] == size:
        return image
    corners = None if kernel == "area" else False
    planes = torch.from_numpy(image)[None]
    return F.interpolate(planes, size, mode=kernel, align_corners=corners)[0].numpy()
