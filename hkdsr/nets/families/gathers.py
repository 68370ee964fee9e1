"""Pooling and enlargement as gathers of rows and columns: exporters keep them exactly, whatever size the image has.

Runtimes choose other pixels than PyTorch where the sizes do not divide each other, or fix the sizes of the example.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 16
"""The largest window where a side becomes an eighth of itself, rounded down, but 1 at least."""


def adaptive_max_pool(x: Tensor, height: int, width: int) -> Tensor:
    """As ``torch.nn.functional.adaptive_max_pool2d`` for features (B, C, H, W), with windows of up to 16 pixels."""
    rows, columns = _windows(x.shape[-2], height), _windows(x.shape[-1], width)
    x = x[:, :, rows.reshape(-1)].unflatten(2, (height, MOST)).amax(3)
    return x[..., columns.reshape(-1)].unflatten(3, (width, MOST)).amax(4)


def enlarge_nearest(x: Tensor, height: int, width: int) -> Tensor:
    """As ``torch.nn.functional.interpolate`` of features (B, C, h, w) to (height, width) by nearest neighbour."""
    rows = torch.arange(height) * x.shape[-2] // height
    columns = torch.arange(width) * x.shape[-1] // width
    return x[:, :, rows][..., columns]


def _windows(size: int, count: int) -> Tensor:
    """Indices (count, 16) into ``size`` pixels of each window; the last one is repeated."""
    index = torch.arange(count)
    first, last = index * size // count, ((index + 1) * size + count - 1) // count - 1
    return torch.minimum(first[:, None] + torch.arange(MOST), last[:, None])
