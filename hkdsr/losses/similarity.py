"""FSM, the frequency similarity matrix loss of HKDSR, exact in memory linear in the number of pixels.

The matrices of the definition have N^2 entries for N positions of a sub-band (9216^2 at HR patch 192), yet they have
rank 3: with d = S_b - T_b, the loss of a band is the mean over p, q of |<d(p), g(q)>|. Its derivative by d(p) is
v(p) = mean over q of sign(<d(p), g(q)>) g(q), and that vector gives the value too, since <d(p), v(p)> is the row's
mean. So v (see signed_mean.py) yields value and gradient in one pass, and the backward pass costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.losses.affinity import full_precision, gram_distance
from hkdsr.losses.signed_mean import signed_mean
from hkdsr.losses.wavelet import haar
from hkdsr.settings.choices import FsmDomain, FsmMode, FsmNorm

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
    """Frequency similarity loss between a student's and a teacher's image, seen through the ground truth.

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

    Source: HKDSR, Neurocomputing 554 (2023) 126592; docs/method.md, "FSM: frequency similarity".
    """
    return fsm_sum(
        [student],
        [teacher],
        hr,
        [1.0],
        levels,
        mode=mode,
        domain=domain,
        norm=norm,
        low_weight=low_weight,
        samples=samples,
    )


def fsm_sum(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    hr: Tensor,
    weights: Sequence[float],
    levels: int = 2,
    *,
    mode: FsmMode = "gt_similarity",
    domain: FsmDomain = "wavelet",
    norm: FsmNorm = "none",
    low_weight: float = 0.0,
    samples: int | None = None,
) -> Tensor:
    """Sum over exits k of ``weights[k] * fsm(students[k], teachers[k], hr)``, cheaper than one exit after the other.

    All exits face the same ground truth and the loss is homogeneous in S - T, so the weighted differences of all exits
    go through as one long band. Arguments and errors as in ``fsm``.
    """
    for student, teacher in zip(students, teachers, strict=True):
        _check(student, teacher, hr, mode, domain, norm, samples)
    teachers, hr = [teacher.detach() for teacher in teachers], hr.detach()
    pairs = list(zip(students, teachers, strict=True))
    if mode == "direct":
        return _total(w * gram_distance(s, t) for w, (s, t) in zip(weights, pairs, strict=True))
    if mode == "wave":
        highs = [zip(haar(s, levels)[1:], haar(t, levels)[1:], strict=True) for s, t in pairs]
        return _total(w * (s - t).abs().mean() for w, bands in zip(weights, highs, strict=True) for s, t in bands)
    truth = haar(hr, 1 if domain == "pixel" else levels)
    band_weights = [1.0] + [0.0] * (len(truth) - 1) if mode == "low" else [low_weight] + [1.0] * (len(truth) - 1)
    operands = [
        [(s, t)] * len(truth) if domain == "pixel" else list(zip(haar(s, levels), haar(t, levels), strict=True))
        for s, t in pairs
    ]
    by_size: dict[tuple[tuple[int, ...], float], list[tuple[Tensor, Tensor]]] = {}
    for g, band_weight, *exits in zip(truth, band_weights, *operands, strict=True):
        if band_weight:
            differences = torch.cat([w * _difference(s, t, norm) for w, (s, t) in zip(weights, exits, strict=True)], -1)
            by_size.setdefault((g.shape, band_weight), []).append((differences, _positions(g, norm, samples)))
    # Bands of one size are stacked along the batch, since few large calls beat many small ones.
    total = hr.new_zeros(())
    for (_, band_weight), bands in by_size.items():
        differences, truths = (torch.cat(parts) for parts in zip(*bands, strict=True))
        total = total + band_weight * len(bands) * len(pairs) * similarity_distance(differences, truths)
    return total


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


def _difference(student: Tensor, teacher: Tensor, norm: FsmNorm) -> Tensor:
    return _vectors(student, norm) - _vectors(teacher, norm)


def _positions(truth: Tensor, norm: FsmNorm, samples: int | None) -> Tensor:
    g = _vectors(truth, norm)
    if samples is not None and samples < g.shape[-1]:
        g = g[..., torch.randperm(g.shape[-1], device=g.device)[:samples]]
    return g


def _vectors(image: Tensor, norm: FsmNorm) -> Tensor:
    """(B, 3, H, W) -> (B, 3, H * W), of length one if asked for."""
    v = image.flatten(2)
    return v / (v.norm(dim=1, keepdim=True) + COSINE_EPS) if norm == "cosine" else v


def _total(terms: Iterable[Tensor]) -> Tensor:
    first, *others = terms
    for term in others:
        first = first + term
    return first


def _check(
    student: Tensor, teacher: Tensor, hr: Tensor, mode: str, domain: str, norm: str, samples: int | None
) -> None:
    if not student.shape == teacher.shape == hr.shape:
        shapes = ", ".join(str(tuple(v.shape)) for v in (student, teacher, hr))
        raise HkdsrError(f"FSM needs student, teacher and HR images of one shape, got {shapes}: crop them alike")
    for name, value, kinds in (("mode", mode, FsmMode), ("domain", domain, FsmDomain), ("norm", norm, FsmNorm)):
        if value not in get_args(kinds):
            raise HkdsrError(f"FSM {name} is '{value}': choose one of {', '.join(get_args(kinds))}")
    if samples is not None and samples < 1:
        raise HkdsrError(f"FSM samples is {samples}: set it to 1 or more, or leave it out to use every position")
