"""Affinities (FAKD): similarities of all pairs of positions, or of channels, compared between two networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK_ENTRIES = 1 << 18  # pairs in memory at once, of the whole batch: 1 MB of float32, which fits in a core's cache
ROWS, ROWS_OF_GPU = 128, 4096  # of a block of a symmetric matrix; on GPUs a few large products are faster
FAKD_EPS, LEAST = 1e-8, 1e-30


def spatial_affinity_distance(student: Tensor, teacher: Tensor, samples: int | None = None) -> Tensor:
    """Mean |A^S - A^T| with A = F^T F over channel-normalised features (FAKD, He et al., ICIP 2020).

    Args:
        student, teacher: (B, C, H, W); the numbers of channels may differ. The teacher is a constant.
        samples: number of random positions that are compared with all positions, instead of all with all; drawn at
            each call, the same in the whole batch; unbiased, and costs less.

    Returns:
        A scalar: the mean over the batch and all H*W x H*W pairs, or samples x H*W. Memory is linear in H*W.
    """
    rows, positions = None, student.shape[-2] * student.shape[-1]
    if samples is not None and samples < positions:
        rows = torch.randperm(positions, device=student.device)[:samples]
    return gram_distance(_unit(student, dim=1), _unit(teacher.detach(), dim=1), rows)


def channel_affinity_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean |A^S - A^T| with A = F F^T over features normalised per channel (FAKD, He et al., ICIP 2020).

    Args:
        student, teacher: (B, C, H, W) with equal C. The teacher is a constant.

    Returns:
        A scalar: the mean over the batch and all C x C pairs.
    """
    s, t = (_unit(f.flatten(2), dim=2) for f in (student, teacher.detach()))
    with full_precision(s):
        return (s @ s.mT - t @ t.mT).abs().mean()


def gram_distance(student: Tensor, teacher: Tensor, rows: Tensor | None = None) -> Tensor:
    """Mean |S^T S - T^T T| over the batch and all pairs of positions, a scalar, for maps (B, C, H, W).

    With ``rows``, indices of positions, it is the mean over these rows of the matrix alone. The teacher is a constant.
    Memory is linear in H*W: value and gradient are computed together, in blocks of rows, so the backward pass costs
    almost nothing.
    """
    s, t = student.flatten(2), teacher.detach().flatten(2)
    with full_precision(s):
        return _GramDistance.apply(s, t) if rows is None else _RowsDistance.apply(s, t, rows)


class _RowsDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, rows: Tensor) -> Tensor:
        batch, _, positions = student.shape
        height = max(1, BLOCK_ENTRIES // (batch * positions))
        gradient, total = torch.zeros_like(student), student.new_zeros(())
        for block in rows.split(height):
            own = student[..., block]
            difference = own.mT @ student
            difference -= teacher[..., block].mT @ teacher
            total += torch.linalg.vector_norm(difference, 1)
            signs = difference.sign_()
            gradient += own @ signs
            gradient.index_add_(2, block, student @ signs.mT)
        pairs = batch * len(rows) * positions
        ctx.save_for_backward(gradient.div_(pairs))
        return total / pairs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return grad_outputs[0] * gradient, None, None


class _GramDistance(torch.autograd.Function):
    """Only the blocks on the diagonal of the symmetric matrix and right of it are computed.

    The blocks of one sample at a time stay in the cache.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        batch, _, positions = student.shape
        height = ROWS if student.device.type == "cpu" else ROWS_OF_GPU
        gradient, total = torch.zeros_like(student), student.new_zeros(())
        for s, t, own_gradient in zip(student, teacher, gradient, strict=True):
            for start in range(0, positions, height):
                block, rest = slice(start, start + height), slice(start + height, positions)
                # Two rounded products are subtracted, so that the difference of equal features is exactly zero.
                difference = s[:, block].T @ s[:, start:]
                difference -= t[:, block].T @ t[:, start:]
                on_diagonal = difference[:, :height]
                total += 2 * torch.linalg.vector_norm(difference, 1) - torch.linalg.vector_norm(on_diagonal, 1)
                signs = difference.sign_()
                own_gradient[:, block] += s[:, start:] @ signs.T
                own_gradient[:, rest] += s[:, block] @ signs[:, height:]
        # Each pair occurs twice in the symmetric matrix, hence the factor 2.
        ctx.save_for_backward(gradient.mul_(2 / (batch * positions**2)))
        return total / (batch * positions**2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad_outputs[0] * gradient, None


def full_precision(like: Tensor) -> torch.autocast:
    """A context without autocast, since bf16 is too coarse for differences between nearly equal images."""
    return torch.autocast(like.device.type, enabled=False)


def _unit(features: Tensor, dim: int) -> Tensor:
    # A third of the time of Tensor.norm. The root of 0 has no gradient, hence the least square.
    squares = features.square().sum(dim, keepdim=True).clamp(min=LEAST)
    return features * (squares.sqrt() + FAKD_EPS).reciprocal()
