"""Affinities: how alike two positions, or two channels, are; compared between student and teacher (FAKD)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK_ENTRIES = 1 << 18  # pairs held at once, over the whole batch: 1 MB of float32, which a core's cache holds
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
    """Mean |S^T S - T^T T| over batch and pairs of positions, for maps (B, C, H, W); the teacher is a constant.

    Memory is linear in H*W: blocks of rows give value and gradient in one pass, so the backward pass costs nothing.
    """
    s, t = student.flatten(2), teacher.detach().flatten(2)
    with full_precision(s):
        return _GramDistance.apply(s, t)


class _GramDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        batch, _, positions = student.shape
        rows = max(1, BLOCK_ENTRIES // (batch * positions))
        pull, total = torch.empty_like(student), student.new_zeros(())
        for start in range(0, positions, rows):
            block = slice(start, start + rows)
            # Two products, not one added to the other: where both networks agree, nothing is left but zero.
            difference = student[..., block].mT @ student
            difference -= teacher[..., block].mT @ teacher
            total += torch.linalg.vector_norm(difference, 1)
            pull[..., block] = student @ difference.sign_().mT
        # Both sides of a pair have a share in it, hence the two.
        ctx.save_for_backward(pull.mul_(2 / (batch * positions**2)))
        return total / (batch * positions**2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (pull,) = ctx.saved_tensors
        return grad_outputs[0] * pull, None


def full_precision(like: Tensor) -> torch.autocast:
    """A context without autocast: products of nearly equal images lose their difference in bf16."""
    return torch.autocast(like.device.type, enabled=False)


def _unit(features: Tensor, dim: int) -> Tensor:
    return features / (features.norm(dim=dim, keepdim=True) + FAKD_EPS)
