"""For many vectors d, the mean over q of sign(<d, g(q)>) g(q): the heart of FSM, without looking at every pair.

Natural high-frequency bands are nearly grey, so most signs are known beforehand. Split every vector into its part
along one axis a (where G has most energy) and the rest: d = d0 a + dc, g = g0 a + gc. By Cauchy-Schwarz
``|g0| |d0| > |gc| |dc|`` settles the sign of <d, g> as sign(d0 g0). With positions sorted by ``|gc| / |g0|`` and
vectors by ``|d0| / |dc|``, the settled pairs of a block of vectors are a prefix, whose sum is read off a running sum;
only the rest is multiplied out. On photographs that rest is the small part; the result is exact whatever it is.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from hkdsr.losses.compiled import each, kernels

COLOURS = 3
BLOCK_ENTRIES = 1 << 19  # pairs multiplied out at once: 2 MB of float32, about a core's own cache
BLOCK_ROWS = 384
MARGIN, NOISE = 1 - 1e-5, 1e-6  # keep a rounded ratio, and one that rounding alone made, from settling a sign


def signed_mean(vectors: Tensor, truth: Tensor) -> Tensor:
    """Return v (B, C, P) with v(p) = mean over q of sign(<vectors(p), truth(q)>) truth(q).

    Args:
        vectors: (B, C, P); a zero vector gives zero.
        truth: (B, C, Q), same floating dtype and device.

    Returns:
        (B, C, P), exact up to rounding; extra memory is linear in P + Q.
    """
    loops = kernels(vectors) if vectors.shape[1] == COLOURS else None
    return _by_blocks(vectors, truth) if loops is None else _compiled(loops, vectors, truth)


def _compiled(loops: ModuleType, vectors: Tensor, truth: Tensor) -> Tensor:
    axis = torch.linalg.eigh(truth @ truth.mT).eigenvectors[..., -1:]
    along, across = _split(truth, axis)
    spread, by_spread = torch.where(across == 0, 0.0, across / along.abs()).sort()
    ordered = _reorder(truth, by_spread)
    running = F.pad((ordered * along.gather(1, by_spread).sign().unsqueeze(1)).cumsum(-1), (1, 0))
    result = torch.empty(vectors.shape, dtype=vectors.dtype)
    d, *operands, out = (
        v.detach().contiguous().numpy() for v in (vectors, ordered, spread, running, axis.squeeze(2), result)
    )

    def one(sample: int) -> None:
        loops.signed_sums(d[sample], *(operand[sample] for operand in operands), out[sample])

    each(one, len(d))
    return result.div_(truth.shape[-1])


def _by_blocks(vectors: Tensor, truth: Tensor) -> Tensor:
    positions, count = vectors.shape[-1], truth.shape[-1]
    axis = torch.linalg.eigh(truth @ truth.mT).eigenvectors[..., -1:]
    along_d, across_d = _split(vectors, axis)
    along_g, across_g = _split(truth, axis)
    reach, by_reach = torch.where(across_d == 0, torch.inf, along_d.abs() / across_d).sort(descending=True)
    spread, by_spread = torch.where(across_g == 0, 0.0, across_g / along_g.abs()).sort()
    vectors, truth = _reorder(vectors, by_reach), _reorder(truth, by_spread)

    rows = max(1, min(BLOCK_ROWS, BLOCK_ENTRIES // count))
    starts = range(0, positions, rows)
    weakest = reach[:, [min(start + rows, positions) - 1 for start in starts]]
    settled = torch.searchsorted(spread, weakest * MARGIN - NOISE)
    running = F.pad((truth * along_g.gather(1, by_spread).sign().unsqueeze(1)).cumsum(-1), (1, 0))
    result = _reorder(running, settled).repeat_interleave(rows, dim=-1)[..., :positions]
    result = result * along_d.gather(1, by_reach).sign().unsqueeze(1)

    for sample, counts in enumerate(settled.tolist()):
        for start, known in zip(starts, counts, strict=True):
            if known < count:
                rest = truth[sample, :, known:]
                signs = (vectors[sample, :, start : start + rows].T @ rest).sign_()
                # linear() rather than signs @ rest.T: with 3 columns the latter is several times slower on CPU.
                result[sample, :, start : start + rows] += F.linear(signs, rest).T
    return torch.empty_like(result).scatter_(2, by_reach.unsqueeze(1).expand_as(result), result).div_(count)


def _split(vectors: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """Length along the axis (signed) and across it (not negative), each (B, N), for vectors (B, C, N)."""
    along = (axis * vectors).sum(1)
    # Written out: norm() over so short a dimension is many times slower on CPU.
    across = (vectors - axis * along.unsqueeze(1)).square_().sum(1).sqrt_()
    return along, across


def _reorder(values: Tensor, order: Tensor) -> Tensor:
    """values (B, C, N) taken at order (B, M)."""
    return values.gather(2, order.unsqueeze(1).expand(-1, values.shape[1], -1))
