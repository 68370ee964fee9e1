"""The contrastive loss of CSD and DCKD: nearness to one image, relative to that to others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

EPS = 1e-7


def contrast(anchor: Sequence[Tensor], positive: Sequence[Tensor], negatives: Iterable[Sequence[Tensor]]) -> Tensor:
    """sum_i w_i d(p_i, a_i) / (sum_k d(n_i^k, a_i) + 1e-7) over layers i of a feature network, d the mean |difference|.

    ``anchor``, ``positive`` and each of ``negatives`` hold a map (B, C_i, h_i, w_i) for every layer; only the anchor
    has a gradient. Means run over the batch before they are divided. The weights are 1 for the last layer and 1/4, 1/8,
    1/16 ... for those before it. All this is as in the code of both papers.

    Sources: Wang et al., IJCAI 2021 (CSD); Zhou et al., AAAI 2025 (DCKD).
    """
    near = torch.stack([(a - p.detach()).abs().mean() for a, p in zip(anchor, positive, strict=True)])
    far = torch.zeros_like(near)
    for maps in negatives:
        far = far + torch.stack([(a - n.detach()).abs().mean() for a, n in zip(anchor, maps, strict=True)])
    weights = near.new_tensor([*(0.5 ** (len(near) - layer) for layer in range(len(near) - 1)), 1.0])
    return (weights * near / (far + EPS)).sum()
