"""Exponential moving average of weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Module = TypeVar("Module", bound=nn.Module)


class Ema(Generic[Module]):
    """Keeps ``average = decay * average + (1 - decay) * weights`` in ``module``, a frozen copy in eval mode."""

    def __init__(self, source: Module, decay: float) -> None:
        self.decay = decay
        self.module: Module = copy.deepcopy(source).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, source: Module) -> None:
        """Move towards ``source``; buffers are copied."""
        mine: list[Tensor] = [*self.module.parameters()]
        theirs: list[Tensor] = [*source.parameters()]
        if mine:  # in a few operations for all, which is what a GPU's time goes into for small networks
            get_ema_multi_avg_fn(self.decay)(mine, theirs, 0)
        for copied, buffer in zip(self.module.buffers(), source.buffers(), strict=True):
            copied.copy_(buffer)
