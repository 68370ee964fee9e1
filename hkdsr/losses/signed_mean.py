"""For many vectors d, the mean over q of sign(<d, g(q)>) g(q), without computing every pair: the main step of FSM.

High-frequency bands of photographs are nearly grey, so most signs follow from a bound. Every vector is split into its
component along one axis a, along which G has most energy, and the rest: d = d0 a + dc, g = g0 a + gc. By the
Cauchy-Schwarz inequality, if ``|g0| |d0| > |gc| |dc|``, the sign of <d, g> is that of d0 g0. With positions sorted by
``|gc| / |g0|`` and vectors by ``|d0| / |dc|``, the pairs with a known sign are the first ones for each block of
vectors, and their sum is read from a running sum. Only the other pairs are multiplied, which are few for photographs.
The result is exact for any input. On a CPU with Numba, the same is done in compiled loops (``kernels_fsm``); on a GPU
with Triton, all pairs are multiplied (``kernels_gpu``).
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from hkdsr.losses.compiled import each, gpu_kernels, kernels

COLOURS = 3
BLOCK_ENTRIES = 1 << 19  # pairs multiplied at once: 2 MB of float32, about the size of a core's cache
BLOCK_ROWS = 384
MARGIN, NOISE = 1 - 1e-5, 1e-6  # margins for rounding errors of a ratio, relative and absolute


def signed_mean(vectors: Tensor, hr: Tensor) -> Tensor:
    """v(p) = mean over q of sign(<vectors(p), hr(q)>) hr(q).

    Args:
        vectors: (B, C, P); a zero vector gives zero.
        hr: (B, C, Q), of the same floating dtype and device.

    Returns:
        v (B, C, P), exact up to rounding. Extra memory is linear in P + Q.
    """
    if vectors.shape[1] == COLOURS:
        if loops := kernels(vectors):
            return _compiled(loops, vectors, hr)
        if on_gpu := gpu_kernels(vectors):
            return on_gpu.signed_means(vectors.detach(), hr.detach())
    return _by_blocks(vectors, hr)


def _compiled(loops: ModuleType, vectors: Tensor, hr: Tensor) -> Tensor:
    result = torch.empty(vectors.shape, dtype=vectors.dtype)
    d, g, out = (v.detach().contiguous().numpy() for v in (vectors, hr, result))
    each(lambda sample: loops.signed_means(d[sample], g[sample], out[sample]), len(d))
    return result


def _by_blocks(vectors: Tensor, hr: Tensor) -> Tensor:
    positions, count = vectors.shape[-1], hr.shape[-1]
    axis = torch.linalg.eigh(hr @ hr.mT).eigenvectors[..., -1:]
    along_d, across_d = _split(vectors, axis)
    along_g, across_g = _split(hr, axis)
    reach, by_reach = torch.where(across_d == 0, torch.inf, along_d.abs() / across_d).sort(descending=True)
    spread, by_spread = torch.where(across_g == 0, 0.0, across_g / along_g.abs()).sort()
    vectors, hr = _reorder(vectors, by_reach), _reorder(hr, by_spread)

    rows = max(1, min(BLOCK_ROWS, BLOCK_ENTRIES // count))
    starts = range(0, positions, rows)
    weakest = reach[:, [min(start + rows, positions) - 1 for start in starts]]
    settled = torch.searchsorted(spread, weakest * MARGIN - NOISE)
    running = F.pad((hr * along_g.gather(1, by_spread).sign().unsqueeze(1)).cumsum(-1), (1, 0))
    result = _reorder(running, settled).repeat_interleave(rows, dim=-1)[..., :positions]
    result = result * along_d.gather(1, by_reach).sign().unsqueeze(1)

    for sample, counts in enumerate(settled.tolist()):
        for start, known in zip(starts, counts, strict=True):
            if known < count:
                rest = hr[sample, :, known:]
                signs = (vectors[sample, :, start : start + rows].T @ rest).sign_()
                # linear(), because signs @ rest.T with 3 columns is several times slower on a CPU.
                result[sample, :, start : start + rows] += F.linear(signs, rest).T
    return torch.empty_like(result).scatter_(2, by_reach.unsqueeze(1).expand_as(result), result).div_(count)


def _split(vectors: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """For vectors (B, C, N): their component along the axis and the length of the rest, each (B, N)."""
    along = (axis * vectors).sum(1)
    # norm() over such a short dimension is many times slower on a CPU.
    across = (vectors - axis * along.unsqueeze(1)).square_().sum(1).sqrt_()
    return along, across


def _reorder(values: Tensor, order: Tensor) -> Tensor:
    """Values (B, C, N) at the indices ``order`` (B, M): (B, C, M)."""
    return values.gather(2, order.unsqueeze(1).expand(-1, values.shape[1], -1))
