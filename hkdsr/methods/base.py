"""What a distillation method is: a frozen dataclass of settings that names its trainable heads and its loss terms.

A method knows nothing of files, devices or loops. It must import torch lazily or under TYPE_CHECKING if ``--help`` is
to stay quick.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.nets.base import Network
    from hkdsr.nets.exits import Pictures


@dataclass(frozen=True)
class Method(ABC):
    """Settings of a method; its fields are keys of the recipe's ``[method]`` table and ``--method.*`` flags."""

    uses_teacher: ClassVar[bool] = True

    @property
    def uses_exits(self) -> bool:
        """Whether student and teacher are to give intermediate pictures."""
        return False

    def resolved(self, scale: int) -> Method:
        """The same settings with every default that depends on the scale filled in."""
        return self

    def heads(self, student: Network, exits: int) -> nn.Module | None:
        """Trainable modules that serve distillation only; ``exits`` counts the intermediate exits."""
        return None

    @abstractmethod
    def losses(
        self, heads: nn.Module | None, student: Pictures, teacher: Pictures | None, hr: Tensor
    ) -> dict[str, Tensor]:
        """Named scalar terms whose sum is minimised.

        ``student`` carries gradient; ``teacher`` (None for a method that uses none) and ``hr`` (B, 3, H, W) in [0, 1]
        are constants.
        """


def cumulative(weights: list[float]) -> list[float]:
    """Weights of K outputs times K, K-1, ..., 1, which the released code gives them by mistake (specification, B2)."""
    return [weight * (len(weights) - index) for index, weight in enumerate(weights)]
