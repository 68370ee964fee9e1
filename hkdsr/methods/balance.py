"""Loss terms of unlike sizes brought to given shares of a reference term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

DECAY = 0.99
TINY = 1e-12  # a term that is zero stays zero, whatever it is multiplied by


class Balance(nn.Module):
    """Running means of a reference term and of others, which say by how much to multiply those.

    The factors are constants for the gradient, and the means are buffers: a resumed run goes on with them.
    """

    means: Tensor
    seen: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("means", torch.zeros(len(self.names) + 1))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, reference: Tensor, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars, by the names given when this was made, each times mean reference / mean term.

        The means are over about the last 100 calls (a plain mean before there are as many), this one included.
        """
        with torch.no_grad():
            now = torch.stack([reference, *(terms[name] for name in self.names)]).to(self.means)
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(now)
                now /= dist.get_world_size()
            self.seen += 1
            self.means.lerp_(now, (1 / self.seen).clamp(min=1 - DECAY))
            # A copy, as the means change before the backward pass where a batch is taken in parts.
            factors = self.means[0] / self.means[1:].clamp(min=TINY)
        return {name: factor * terms[name] for name, factor in zip(self.names, factors, strict=True)}
