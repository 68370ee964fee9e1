"""The orthonormal two-dimensional Haar transform (docs/method.md)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from hkdsr.errors import HkdsrError


def haar(x: Tensor, levels: int) -> list[Tensor]:
    """Decompose images into Haar sub-bands.

    Args:
        x: (..., H, W), any floating dtype and range. A side that is odd at some level gets one row or column of zeros.
        levels: J >= 1; level l+1 transforms the low band of level l.

    Returns:
        ``[LL_J, cH_1, cV_1, cD_1, ..., cH_J, cV_J, cD_J]``, finest level first after LL; level-l bands are
        (..., ceil(H / 2^l), ceil(W / 2^l)). cH is the vertical difference, cV the horizontal, cD the diagonal one.
        The transform is linear, differentiable, and keeps the energy of even-sided images.

    Raises:
        HkdsrError: ``levels`` is below 1.
    """
    if levels < 1:
        raise HkdsrError(f"Haar levels is {levels}: set it to 1 or more")
    details: list[Tensor] = []
    low = x
    for _ in range(levels):
        low, *bands = _one_level(low)
        details += bands
    return [low, *details]


def _one_level(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if x.shape[-2] % 2 or x.shape[-1] % 2:
        x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))
    top, bottom = x[..., 0::2, :], x[..., 1::2, :]
    total, vertical = (top + bottom) / 2, (top - bottom) / 2
    total_left, total_right = total[..., 0::2], total[..., 1::2]
    vertical_left, vertical_right = vertical[..., 0::2], vertical[..., 1::2]
    return (
        total_left + total_right,
        vertical_left + vertical_right,
        total_left - total_right,
        vertical_left - vertical_right,
    )
