"""The balance of HKDSR+: scales loss terms of different sizes to the size of a reference term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

DECAY = 0.99
TINY = 1e-12  # prevents a division by zero; a term that is zero stays zero


class Balance(nn.Module):
    """Running means of a reference term and of other terms; their ratios are the factors of the other terms.

    The factors are constants for the gradient. The means are buffers, so a continued run has them.
    """

    means: Tensor
    seen: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("means", torch.zeros(len(self.names) + 1))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, reference: Tensor, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each term of ``names``, a scalar, times mean reference / mean term.

        The means weight the last 100 calls most, this one included; for the first 100 calls they are plain means.
        """
        with torch.no_grad():
            values = torch.stack([reference, *(terms[name] for name in self.names)]).to(self.means)
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(values)
                values /= dist.get_world_size()
            self.seen += 1
            self.means.lerp_(values, (1 / self.seen).clamp(min=1 - DECAY))
            # A copy, because the means change before the backward pass if a batch is split into parts.
            factors = self.means[0] / self.means[1:].clamp(min=TINY)
        return {name: factor * terms[name] for name, factor in zip(self.names, factors, strict=True)}
