"""What lies before a method in one training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hkdsr.nets.base import Network
from hkdsr.nets.exits import Outputs


@dataclass(frozen=True)
class LossInputs:
    """The batch and what both networks made of it.

    ``lr`` (B, 3, p, p) and ``hr`` (B, 3, scale*p, scale*p) in [0, 1]. ``student`` carries gradient; ``teacher`` (None
    for a method that uses none) and ``hr`` are constants. The networks are there for methods that declare
    ``uses_networks``, the recipe's own teacher first.
    """

    lr: Tensor
    hr: Tensor
    student: Outputs
    teacher: Outputs | None = None
    student_network: Network | None = None
    teacher_networks: Sequence[Network] = ()
    autocast: torch.autocast | None = field(default=None, repr=False)
    """The precision networks run in; losses are computed outside it, in full precision."""

    def student_on(self, lr: Tensor) -> Tensor:
        """The student's image, float32 and unclamped, of another LR batch (B, 3, h, w), with gradient."""
        assert self.student_network is not None
        return self._run(self.student_network, lr)

    @torch.no_grad()
    def teacher_on(self, lr: Tensor, index: int = 0) -> Tensor:
        """Teacher ``index``'s image, float32 and clamped to [0, 1], of another LR batch, without gradient."""
        return self._run(self.teacher_networks[index], lr).clamp(0, 1)

    def _run(self, network: Network, lr: Tensor) -> Tensor:
        if self.autocast is None:
            return network(lr)
        with self.autocast:
            return network(lr).float()
