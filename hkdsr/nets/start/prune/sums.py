"""What the teacher's layers see on the crops, summed so that no activation has to be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from hkdsr.nets.base import Network
from hkdsr.nets.start.prune.least_squares import CHUNK, chunks, gram, patches, thinning


class Sums:
    """For each layer the sum G of [phi; 1] [phi; 1]^T over its patches, and how many ``positions`` it is over.

    ``energy`` (channels,): for each layer norm the sum of squares of each channel of its input, less the mean over the
    channels.
    """

    def __init__(self) -> None:
        self.G: dict[nn.Module, Tensor] = {}
        self.positions: dict[nn.Module, int] = {}
        self.energy: dict[nn.Module, Tensor] = {}
        self._chunk, self._chunks = 0, 1

    @torch.no_grad()
    def gather(self, network: Network, modules: Iterable[nn.Module], lr: Tensor, tick: Callable[[], object]) -> None:
        """Run ``network`` on crops ``lr`` (B, 3, h, w) and add what its ``modules`` see; ``tick`` counts chunks."""
        self._chunks = -(-len(lr) // CHUNK)
        hooks = [
            module.register_forward_pre_hook(self._norm if isinstance(module, nn.LayerNorm) else self._layer)
            for module in modules
        ]
        try:
            for self._chunk, part in enumerate(chunks(len(lr))):
                network(lr[part])
                tick()
        finally:
            for hook in hooks:
                hook.remove()

    def restrict(self, module: nn.Module, inputs: Tensor) -> None:
        """Forget all input channels of a linear map or 1x1 convolution ``module`` but ``inputs`` (indices)."""
        entries = torch.cat([inputs, torch.tensor([len(self.G[module]) - 1])])
        self.G[module] = self.G[module][entries[:, None], entries]

    def _layer(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        step = thinning(module, given[0], self._chunks)
        rows = patches(module, given[0], step, self._chunk % step**2)
        self.G[module] = self.G.get(module, 0.0) + gram(rows)
        self.positions[module] = self.positions.get(module, 0) + len(rows)

    def _norm(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        x = given[0].flatten(0, -2)
        squares = (x - x.mean(-1, keepdim=True)).double().square().sum(0)
        self.energy[module] = self.energy.get(module, 0.0) + squares
