"""Exponential moving average of weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class Ema(Generic[Module]):
    """Keeps ``average = decay * average + (1 - decay) * weights`` in ``module``, a frozen copy in eval mode."""

    def __init__(self, source: Module, decay: float) -> None:
        self.decay = decay
        self.module: Module = copy.deepcopy(source).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, source: Module) -> None:
        """Move towards ``source``; buffers are copied."""
        for mine, theirs in zip(self.module.parameters(), source.parameters(), strict=True):
            mine.lerp_(theirs, 1 - self.decay)
        for mine, theirs in zip(self.module.buffers(), source.buffers(), strict=True):
            mine.copy_(theirs)
