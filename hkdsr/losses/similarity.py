"""FSM, the frequency similarity matrix loss of HKDSR, exact, in memory linear in the number of pixels.

By definition, the loss compares matrices of N^2 entries for the N positions of a sub-band (9216^2 for HR crops of 192
pixels). They have rank 3: with d = S_b - T_b, the loss of a band is the mean over p, q of |<d(p), g(q)>|. Let v(p) be
the mean over q of sign(<d(p), g(q)>) g(q). Then v(p), divided by the number of p, is the derivative by d(p), and
<d(p), v(p)> is the mean of row p. So v gives both the value and the gradient (see signed_mean.py), and the backward
pass costs almost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.losses.affinity import full_precision, gram_distance
from hkdsr.losses.compiled import each, kernels
from hkdsr.losses.signed_mean import COLOURS, signed_mean
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
    """Frequency similarity loss: similarities of S to G compared with those of T to G, in high-frequency bands.

    Args:
        student: S (B, 3, H, W), RGB in [0, 1]; only S has a gradient.
        teacher: T, same shape; a constant.
        hr: G, the ground truth, same shape; a constant.
        levels: J, levels of the Haar transform.
        mode: ``gt_similarity`` is the loss of the paper; ``low`` is the same on the low band LL_J only; ``direct``
            compares similarities of all pairs of pixels within S with those within T, without wavelets or G; ``wave``
            is the L1 between the high bands of S and T.
        domain: ``wavelet`` transforms S, T and G; ``pixel`` compares S and T as full-size RGB images with the bands
            of G of level 1 (the authors' first version).
        norm: ``cosine`` divides every colour vector by its length + 1e-8 first; ``none`` does not.
        low_weight: weight of LL_J in ``gt_similarity`` (the authors' first version: 0.02).
        samples: number of random positions of G to use instead of all, drawn at each call; unbiased, and costs less.

    Returns:
        A scalar: for each sub-band the mean over the batch, p and q; summed over the sub-bands.

    Raises:
        HkdsrError: shapes differ, ``mode``, ``domain`` or ``norm`` is unknown, or ``levels`` or ``samples`` is below 1.

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
    """Sum over exits k of ``weights[k] * fsm(students[k], teachers[k], hr)``, which costs less than separate calls.

    All exits have the same ground truth, and the loss is homogeneous in S - T, so the weighted differences of all exits
    are processed as one long band. Arguments and errors are those of ``fsm``.
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
    if samples is not None and samples >= -(-hr.shape[2] // 2) * -(-hr.shape[3] // 2):
        samples = None  # no band has more positions than those of level 1
    default = (mode, domain, norm, low_weight, samples) == ("gt_similarity", "wavelet", "none", 0, None)
    loops = kernels(hr) if default and levels >= 1 and hr.shape[1] == COLOURS else None
    if loops is not None and {hr.dtype} == {image.dtype for images in pairs for image in images}:
        return _InOnePass.apply(loops, weights, levels, hr, *teachers, *students)
    hr_bands = haar(hr, 1 if domain == "pixel" else levels)
    band_weights = [1.0] + [0.0] * (len(hr_bands) - 1) if mode == "low" else [low_weight] + [1.0] * (len(hr_bands) - 1)
    operands = [
        [(s, t)] * len(hr_bands) if domain == "pixel" else list(zip(haar(s, levels), haar(t, levels), strict=True))
        for s, t in pairs
    ]
    by_size: dict[tuple[tuple[int, ...], float], list[tuple[Tensor, Tensor]]] = {}
    for g, band_weight, *exits in zip(hr_bands, band_weights, *operands, strict=True):
        if band_weight:
            differences = torch.cat([w * _difference(s, t, norm) for w, (s, t) in zip(weights, exits, strict=True)], -1)
            by_size.setdefault((g.shape, band_weight), []).append((differences, _positions(g, norm, samples)))
    # Bands of one size are stacked along the batch, since few large calls are faster than many small ones.
    total = hr.new_zeros(())
    for (_, band_weight), bands in by_size.items():
        differences, references = (torch.cat(parts) for parts in zip(*bands, strict=True))
        total = total + band_weight * len(bands) * len(pairs) * similarity_distance(differences, references)
    return total


def similarity_distance(difference: Tensor, hr: Tensor) -> Tensor:
    """Mean over the batch, p and q of ``|<difference[b, :, p], hr[b, :, q]>|``.

    Args:
        difference: (B, C, P), S - T at P positions; differentiable.
        hr: (B, C, Q), G at Q positions; a constant.

    Returns:
        A scalar in the dtype of ``difference``. Extra memory is linear in P + Q.
    """
    with full_precision(difference):
        return _SimilarityDistance.apply(difference, hr.detach())


class _SimilarityDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, difference: Tensor, hr: Tensor) -> Tensor:
        mean = signed_mean(difference, hr)
        batch, _, positions = difference.shape
        ctx.save_for_backward(mean)
        return (difference * mean).sum() / (batch * positions)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (mean,) = ctx.saved_tensors
        batch, _, positions = mean.shape
        return grad_outputs[0] * mean / (batch * positions), None


class _InOnePass(torch.autograd.Function):
    """``fsm_sum`` with its defaults by ``hkdsr.losses.kernels``; the images are those of K teachers and K students."""

    @staticmethod
    def forward(
        ctx: Any, loops: ModuleType, weights: Sequence[float], levels: int, hr: Tensor, *images: Tensor
    ) -> Tensor:
        batch, exits = len(hr), len(weights)
        gradients = [torch.empty(hr.shape, dtype=hr.dtype) for _ in weights]
        g, *others = (v.detach().contiguous().numpy() for v in (hr, *images))
        outs = [gradient.numpy() for gradient in gradients]
        totals = [0.0] * batch

        def compute(sample: int) -> None:
            # One sample at a time, so that all of this stays in the cache.
            pairs = zip(others[exits:], others[:exits], weights, strict=True)
            difference = np.stack([(s[sample] - t[sample]) * s.dtype.type(weight) for s, t, weight in pairs])
            gradient = np.empty_like(difference)
            totals[sample] = loops.similarity(difference, g[sample], levels, gradient)
            for out, own, weight in zip(outs, gradient, weights, strict=True):
                np.multiply(own, own.dtype.type(weight / batch), out=out[sample])

        each(compute, batch)
        ctx.save_for_backward(*gradients)
        return hr.new_tensor(sum(totals) / batch)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        return (*[None] * (4 + len(gradients)), *(grad_outputs[0] * gradient for gradient in gradients))


def _difference(student: Tensor, teacher: Tensor, norm: FsmNorm) -> Tensor:
    return _vectors(student, norm) - _vectors(teacher, norm)


def _positions(hr: Tensor, norm: FsmNorm, samples: int | None) -> Tensor:
    g = _vectors(hr, norm)
    if samples is not None and samples < g.shape[-1]:
        g = g[..., torch.randperm(g.shape[-1], device=g.device)[:samples]]
    return g


def _vectors(image: Tensor, norm: FsmNorm) -> Tensor:
    """(B, 3, H, W) -> colour vectors (B, 3, H * W); of length 1 for ``cosine``."""
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
        raise HkdsrError(f"FSM needs images of one shape, and those of student, teacher and HR are {shapes}: crop them")
    for name, value, kinds in (("mode", mode, FsmMode), ("domain", domain, FsmDomain), ("norm", norm, FsmNorm)):
        if value not in get_args(kinds):
            raise HkdsrError(f"FSM {name} is '{value}': choose one of {', '.join(get_args(kinds))}")
    if samples is not None and samples < 1:
        raise HkdsrError(f"FSM samples is {samples}: set it to 1 or more, or to None for all positions")
