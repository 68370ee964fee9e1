"""FSM's main step on GPUs by Triton: for many vectors d the mean over q of sign(<d, g(q)>) g(q).

Every program takes some vectors d and goes through all of G; products and signs stay in registers. So the matrix of all
pairs is never written, there is nothing to sort, and the CPU does not wait for the GPU. On a GPU multiplying all pairs
is faster than finding out which signs follow from a bound, as ``signed_mean`` and ``kernels_fsm`` do.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

VECTORS, POSITIONS = 32, 64
"""Of a tile: the vectors of a program, and the positions of G that it takes at once."""


def signed_means(vectors: Tensor, hr: Tensor) -> Tensor:
    """``v[b, :, p] = mean over q of sign(<vectors[b, :, p], hr[b, :, q]>) hr[b, :, q]``; the sign of 0 is 0.

    Args:
        vectors: (B, 3, P), float32 or float64, on a GPU.
        hr: (B, 3, Q), of the same type and device.

    Returns:
        v (B, 3, P), exact up to rounding. There is no further memory but copies of tensors that are not contiguous.
    """
    vectors, hr = vectors.contiguous(), hr.contiguous()
    batch, _, count = vectors.shape
    result = torch.empty_like(vectors)
    tiles = (triton.cdiv(count, VECTORS), batch)
    sizes: dict[str, Any] = {"VECTORS": VECTORS, "POSITIONS": POSITIONS}
    with torch.cuda.device_of(vectors):  # which need not be the current one
        _signed_means[tiles](vectors, hr, result, count, hr.shape[2], **sizes)
    return result


@triton.jit
def _signed_means(vectors, hr, result, count, positions, VECTORS: tl.constexpr, POSITIONS: tl.constexpr):
    sample = tl.program_id(1)
    p = tl.program_id(0) * VECTORS + tl.arange(0, VECTORS)
    own = vectors + sample * 3 * count + p
    # Beyond the end, vectors and positions are zero, whose signs and terms are zero.
    d0 = tl.load(own, mask=p < count, other=0.0)
    d1 = tl.load(own + count, mask=p < count, other=0.0)
    d2 = tl.load(own + 2 * count, mask=p < count, other=0.0)
    # Summed up by columns of the tile, and over these at the end: sums within the loop would make threads wait.
    v0 = tl.zeros((VECTORS, POSITIONS), d0.dtype)
    v1, v2 = tl.zeros_like(v0), tl.zeros_like(v0)
    for start in range(0, positions, POSITIONS):
        q = start + tl.arange(0, POSITIONS)
        all_of_g = hr + sample * 3 * positions + q
        g0 = tl.load(all_of_g, mask=q < positions, other=0.0)[None, :]
        g1 = tl.load(all_of_g + positions, mask=q < positions, other=0.0)[None, :]
        g2 = tl.load(all_of_g + 2 * positions, mask=q < positions, other=0.0)[None, :]
        product = d0[:, None] * g0 + d1[:, None] * g1 + d2[:, None] * g2
        sign = (product > 0).to(d0.dtype) - (product < 0).to(d0.dtype)
        v0 += sign * g0
        v1 += sign * g1
        v2 += sign * g2
    target = result + sample * 3 * count + p
    tl.store(target, tl.sum(v0, axis=1) / positions, mask=p < count)
    tl.store(target + count, tl.sum(v1, axis=1) / positions, mask=p < count)
    tl.store(target + 2 * count, tl.sum(v2, axis=1) / positions, mask=p < count)
