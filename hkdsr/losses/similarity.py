"""FSM, the frequency similarity matrix loss of HKDSR, exact in memory linear in the number of pixels.

The matrices of the definition have N^2 entries for N positions of a sub-band (9216^2 at HR patch 192), yet they have
rank 3: with d = S_b - T_b, the loss of a band is the mean over p, q of |<d(p), g(q)>|. Its derivative by d(p) is
v(p) = mean over q of sign(<d(p), g(q)>) g(q), and that vector gives the value too, since <d(p), v(p)> is the row's
mean. So v (see signed_mean.py) yields value and gradient in one pass, and the backward pass costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from hkdsr.choices import FsmDomain, FsmMode, FsmNorm
from hkdsr.errors import HkdsrError
from hkdsr.losses.affinity import full_precision, gram_distance
from hkdsr.losses.signed_mean import signed_mean
from hkdsr.losses.wavelet import haar

COSINE_EPS = 1e-8


def fsm(
    student: Tensor,
    teacher: Tensor,
    hr: Tensor,
    levels: int = 2,
    *,
    mode: FsmMode = "gt_similarity",
    domain: FsmDomain = "wavelet",
    norm: FsmNorm = "none",
    low_weight: float = 0.0,
    samples: int | None = None,
) -> Tensor:
    """Frequency similarity loss between a student's and a teacher's picture, seen through the ground truth.

    Args:
        student: S (B, 3, H, W), RGB in [0, 1]; the gradient flows into it alone.
        teacher: T, same shape; a constant.
        hr: G, the ground truth, same shape; a constant.
        levels: J, levels of the Haar transform.
        mode: ``gt_similarity`` the loss of the paper; ``low`` its low-band ablation (LL_J only); ``direct`` pixel
            self-similarity of S against T, without wavelets or G; ``wave`` plain L1 of the high bands of S and T.
        domain: ``wavelet`` transforms S, T and G (FSM-C); ``pixel`` keeps S and T in full-resolution RGB (FSM-A)
            against the level-1 bands of G.
        norm: ``cosine`` divides every colour vector by its length (eps 1e-8) before the product.
        low_weight: weight of LL_J in ``gt_similarity`` (FSM-A: 0.02).
        samples: use this many positions of G, drawn anew at each call, instead of all; unbiased, and cheaper.

    Returns:
        A scalar: the mean over batch, p and q, summed over the sub-bands.

    Raises:
        HkdsrError: shapes differ, an unknown mode, domain or norm, or ``levels`` or ``samples`` below 1.

    Source: HKDSR, Neurocomputing 554 (2023) 126592; specification sections 2.1 to 2.4.
    """
    _check(student, teacher, hr, mode, domain, norm, samples)
    teacher, hr = teacher.detach(), hr.detach()
    if mode == "direct":
        return gram_distance(student, teacher)
    if mode == "wave":
        return sum(((s - t).abs().mean() for s, t in _bands(student, teacher, levels)), student.new_zeros(()))
    truth = haar(hr, 1 if domain == "pixel" else levels)
    weights = [1.0] + [0.0] * (len(truth) - 1) if mode == "low" else [low_weight] + [1.0] * (len(truth) - 1)
    if domain == "pixel":
        operands = [(student, teacher)] * len(truth)
    else:
        operands = list(zip(haar(student, levels), haar(teacher, levels), strict=True))
    return _weighted_distances(operands, truth, weights, norm, samples)


def similarity_distance(difference: Tensor, truth: Tensor) -> Tensor:
    """Mean over batch, p and q of ``|<difference[b, :, p], truth[b, :, q]>|``.

    Args:
        difference: (B, C, P), S - T at P positions; differentiable.
        truth: (B, C, Q); a constant.

    Returns:
        A scalar in the dtype of ``difference``. Extra memory is linear in P + Q.
    """
    with full_precision(difference):
        return _SimilarityDistance.apply(difference, truth.detach())


class _SimilarityDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, difference: Tensor, truth: Tensor) -> Tensor:
        pull = signed_mean(difference, truth)
        batch, _, positions = difference.shape
        ctx.save_for_backward(pull)
        return (difference * pull).sum() / (batch * positions)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (pull,) = ctx.saved_tensors
        batch, _, positions = pull.shape
        return grad_outputs[0] * pull / (batch * positions), None


def _weighted_distances(
    operands: Sequence[tuple[Tensor, Tensor]],
    truth: Sequence[Tensor],
    weights: Sequence[float],
    norm: FsmNorm,
    samples: int | None,
) -> Tensor:
    """Sum over bands; bands of one size are stacked along the batch, since few large calls beat many small ones."""
    total = operands[0][0].new_zeros(())
    by_size: dict[tuple[tuple[int, ...], tuple[int, ...], float], list[tuple[Tensor, Tensor]]] = {}
    for (s, t), g, weight in zip(operands, truth, weights, strict=True):
        if weight:
            pair = _difference_and_truth(s, t, g, norm, samples)
            by_size.setdefault((pair[0].shape, pair[1].shape, weight), []).append(pair)
    for (_, _, weight), pairs in by_size.items():
        differences, truths = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        total = total + weight * len(pairs) * similarity_distance(differences, truths)
    return total


def _difference_and_truth(
    student: Tensor, teacher: Tensor, truth: Tensor, norm: FsmNorm, samples: int | None
) -> tuple[Tensor, Tensor]:
    s, t, g = student.flatten(2), teacher.flatten(2), truth.flatten(2)
    if norm == "cosine":
        s, t, g = (v / (v.norm(dim=1, keepdim=True) + COSINE_EPS) for v in (s, t, g))
    if samples is not None and samples < g.shape[-1]:
        g = g[..., torch.randperm(g.shape[-1], device=g.device)[:samples]]
    return s - t, g


def _bands(student: Tensor, teacher: Tensor, levels: int) -> Sequence[tuple[Tensor, Tensor]]:
    return list(zip(haar(student, levels), haar(teacher, levels), strict=True))[1:]


def _check(
    student: Tensor, teacher: Tensor, hr: Tensor, mode: str, domain: str, norm: str, samples: int | None
) -> None:
    if not student.shape == teacher.shape == hr.shape:
        shapes = ", ".join(str(tuple(v.shape)) for v in (student, teacher, hr))
        raise HkdsrError(f"FSM needs student, teacher and HR pictures of one shape, got {shapes}: crop them alike")
    for name, value, kinds in (("mode", mode, FsmMode), ("domain", domain, FsmDomain), ("norm", norm, FsmNorm)):
        if value not in get_args(kinds):
            raise HkdsrError(f"FSM {name} is '{value}': choose one of {', '.join(get_args(kinds))}")
    if samples is not None and samples < 1:
        raise HkdsrError(f"FSM samples is {samples}: set it to 1 or more, or leave it out to use every position")
