"""Spatial-channel correlation (SCC) in windows of any size: the core of HiT-SR.

Zhang et al., "HiT-SR: Hierarchical Transformer for Efficient Image Super-Resolution", ECCV 2024. SCC is attention
without a softmax and without keys, so that its cost grows with the area of a window and not with the area's square.
Features are channels-last here, (B, H, W, C).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.nets.families.layers import conv3x3

BASE_WINDOW = 8
NEGATIVE_SLOPE = 0.2
QV_REDUCTION = 5
POSITION_REDUCTION = 16


def to_windows(x: Tensor, size: int) -> Tensor:
    """Maps (B, H, W, C), H and W multiples of ``size`` -> windows (B, H/size * W/size, size**2, C), row by row."""
    x = x.unflatten(2, (-1, size)).unflatten(1, (-1, size))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(windows: Tensor, size: int, rows: int) -> Tensor:
    """The inverse of ``to_windows`` for a map that is ``rows`` windows high."""
    x = windows.unflatten(1, (rows, -1)).unflatten(3, (size, size))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def mirror_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Continue (B, H, W, C) at the bottom and right by mirroring at its edges, as often as it takes."""
    for axis in (1, 2):
        size = x.shape[axis]
        if extra := -size % multiple:
            period = max(2 * size - 2, 1)
            phase = torch.arange(size + extra, device=x.device) % period
            x = x.index_select(axis, torch.minimum(phase, period - phase))
    return x


class DualFeatures(nn.Module):
    """Queries and values, half the channels each: a convolutional branch times a linear one, (B, C, H, W) -> same."""

    def __init__(self, features: int) -> None:
        super().__init__()
        hidden = features // QV_REDUCTION
        self.conv = nn.Sequential(
            nn.Conv2d(features, hidden, 1),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            conv3x3(hidden, hidden),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv2d(hidden, features, 1),
        )
        self.linear = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.linear(x)


class PositionBias(nn.Module):
    """Offsets in pixels (..., 2) -> a learned bias per head (..., heads), for windows of any size.

    Wang et al., "CrossFormer", ICLR 2022 (dynamic position bias).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, width)
        self.pos1, self.pos2, self.pos3 = (
            nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, outputs))
            for outputs in (width, width, heads)
        )

    def forward(self, offsets: Tensor) -> Tensor:
        return self.pos3(self.pos2(self.pos1(self.pos_proj(offsets))))


class Correlation(nn.Module):
    """SCC on (B, H, W, C), H and W multiples of ``window``; C a multiple of twice ``heads``, at least 16.

    Spatial self-correlation (S-SC) relates the pixels of a window to its values, reduced to at most 8x8; channel
    self-correlation (C-SC) relates its channels. Each gives half of the channels.
    """

    def __init__(self, features: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.base = min(window, BASE_WINDOW)
        self.cell = window // self.base
        self.qv = DualFeatures(features)
        self.spatial_linear = nn.Linear(self.cell**2, 1)
        self.pos = PositionBias(features // POSITION_REDUCTION, heads)
        self.proj = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        query_map, value_map = self.qv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).chunk(2, -1)
        query, value = to_windows(query_map, self.window), to_windows(value_map, self.window)
        both = torch.cat([self.spatial(query, self.reduced(value_map)), self.channel(query, value)], -1)
        return self.proj(from_windows(both, self.window, x.shape[1] // self.window))

    def reduced(self, values: Tensor) -> Tensor:
        """Values (B, H, W, D) -> those of each window (B, windows, base**2, D), every cell of pixels a weighted sum."""
        cells = self.spatial_linear(to_windows(values, self.cell).mT).squeeze(-1)
        return to_windows(cells.unflatten(1, (values.shape[1] // self.cell, -1)), self.base)

    def spatial(self, query: Tensor, values: Tensor) -> Tensor:
        """S-SC: queries (B, n, window**2, D) and reduced values (B, n, base**2, D) -> (B, n, window**2, D)."""
        query, values = query.unflatten(-1, (self.heads, -1)), values.unflatten(-1, (self.heads, -1))
        # Without a softmax, (Q V^T / d + bias) V is Q (V^T V / d) + bias V, which needs no map of all pairs.
        likeness = torch.einsum("bnvhd,bnvhe->bnhde", values, values) / values.shape[-1]
        by_content = torch.einsum("bnlhd,bnhde->bnlhe", query, likeness)
        by_position = torch.einsum("hlv,bnvhd->bnlhd", self.bias(), values)
        return (by_content + by_position).flatten(3)

    def channel(self, query: Tensor, value: Tensor) -> Tensor:
        """C-SC: queries and values (B, n, window**2, D) -> the same shape."""
        return value @ (value.mT @ query / self.window**2)

    def bias(self) -> Tensor:
        """What each pixel's relation to each reduced value gains by their offset: (heads, window**2, base**2)."""
        parameter = self.proj.weight
        offsets = torch.arange(1 - self.window, self.window, device=parameter.device, dtype=parameter.dtype)
        table = self.pos(torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), -1)).permute(2, 0, 1)
        # A value stands for a cell of pixels, whose biases lie side by side in the table: their mean is a pooling.
        table = F.avg_pool2d(table, self.cell, stride=1)
        pixels = torch.arange(self.window, device=parameter.device)
        cells = torch.arange(self.base, device=parameter.device)
        entry = pixels[:, None] - self.cell * cells + self.window - self.cell
        return table[:, entry[:, None, :, None], entry[None, :, None, :]].flatten(3, 4).flatten(1, 2)
