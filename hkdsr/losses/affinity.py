"""Affinities: how alike two positions, or two channels, are; compared between student and teacher (FAKD)."""

from __future__ import annotations

import torch
import torch.utils.checkpoint
from torch import Tensor

BLOCK_ENTRIES = 1 << 20  # pairs held at once, over the whole batch: 4 MB of float32
FAKD_EPS = 1e-8


def spatial_affinity_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean |A^S - A^T| with A = F^T F over channel-normalised features (FAKD, He et al., ICIP 2020).

    Args:
        student, teacher: (B, C, H, W); channel counts may differ, H and W not. The teacher is a constant.

    Returns:
        A scalar: the mean over batch and all H*W x H*W pairs, in memory linear in H*W.
    """
    return gram_distance(_unit(student, dim=1), _unit(teacher.detach(), dim=1))


def channel_affinity_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean |A^S - A^T| with A = F F^T over features normalised per channel (FAKD); channel counts must be equal."""
    s, t = (_unit(f.flatten(2), dim=2) for f in (student, teacher.detach()))
    with full_precision(s):
        return (s @ s.mT - t @ t.mT).abs().mean()


def gram_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean |S^T S - T^T T| over batch and pairs of positions, for maps (B, C, H, W).

    Memory is linear in H*W: blocks of rows are recomputed in the backward pass.
    """
    s, t = student.flatten(2), teacher.flatten(2)
    batch, _, positions = s.shape
    rows = max(1, BLOCK_ENTRIES // (batch * positions))
    total = s.new_zeros(())
    with full_precision(s):
        for start in range(0, positions, rows):
            total = total + torch.utils.checkpoint.checkpoint(_row_distance, s, t, start, rows, use_reentrant=False)
    return total / (batch * positions**2)


def full_precision(like: Tensor) -> torch.autocast:
    """A context without autocast: products of nearly equal pictures lose their difference in bf16."""
    return torch.autocast(like.device.type, enabled=False)


def _row_distance(student: Tensor, teacher: Tensor, start: int, rows: int) -> Tensor:
    block = slice(start, start + rows)
    return (student[..., block].mT @ student - teacher[..., block].mT @ teacher).abs().sum()


def _unit(features: Tensor, dim: int) -> Tensor:
    return features / (features.norm(dim=dim, keepdim=True) + FAKD_EPS)
