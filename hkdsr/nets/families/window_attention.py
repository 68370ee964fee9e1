"""Self-attention inside 8x8 windows, plain or shifted by half a window: the core of Swin transformers.

Liu et al., "Swin Transformer", ICCV 2021. Features are channels-last here, (B, H, W, C) with H and W multiples of 8.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WINDOW = 8
SHIFT = WINDOW // 2
TOKENS = WINDOW**2


def to_windows(x: Tensor) -> Tensor:
    """Maps (B, H, W, C) -> windows (B, H/8 * W/8, 64, C), row by row."""
    rows, columns = x.shape[1] // WINDOW, x.shape[2] // WINDOW
    x = x.unflatten(2, (columns, WINDOW)).unflatten(1, (rows, WINDOW))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(windows: Tensor, rows: int) -> Tensor:
    """The inverse of ``to_windows`` for a map that is ``rows`` windows high."""
    x = windows.unflatten(1, (rows, -1)).unflatten(3, (WINDOW, WINDOW))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def relative_positions() -> Tensor:
    """For each pair of a window's tokens (64, 64) the row of the bias table that their offset (dy, dx) selects."""
    y, x = torch.arange(TOKENS) // WINDOW, torch.arange(TOKENS) % WINDOW
    dy, dx = y[:, None] - y, x[:, None] - x
    return (dy + WINDOW - 1) * (2 * WINDOW - 1) + dx + WINDOW - 1


def shift_masks() -> Tensor:
    """What keeps a shifted window from attending across the map's border, as added to its logits: (4, 64, 64).

    Only windows in the last row or column hold tokens from two sides of the map, so there are four kinds: inner, last
    column, last row, corner. They are the windows of the smallest map that has each once, 2x2 windows.
    """
    wrapped = torch.arange(2 * WINDOW) >= 2 * WINDOW - SHIFT
    side = 2 * wrapped[:, None] + wrapped.int()
    windows = to_windows(side[None, :, :, None])[0, :, :, 0]
    return -100.0 * (windows[:, :, None] != windows[:, None, :])


class WindowAttention(nn.Module):
    """Multi-head self-attention within each window, with a learned bias per offset (equation 4)."""

    relative_position_index: Tensor

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_positions())
        self.qkv = nn.Linear(features, 3 * features)
        self.proj = nn.Linear(features, features)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Windows (B, n, 64, C) and what to add to their logits, (n, 64, 64) or nothing -> (B, n, 64, C)."""
        count = windows.shape[1]
        # Windows count as heads, so that one bias (n * heads, 64, 64) serves the whole batch.
        qkv = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        bias = bias.expand(count, -1, -1, -1) if mask is None else bias + mask[:, None]
        # Written out, as the fused kernels take neither heads of 10 or 30 channels nor, on a CPU, a bias that learns.
        query, key, value = qkv.unbind()
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1) + bias.flatten(0, 1)
        out = logits.softmax(-1) @ value
        return self.proj(out.unflatten(1, (count, self.heads)).transpose(2, 3).flatten(3))
