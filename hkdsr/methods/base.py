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

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class Method(ABC):
    """Settings of a method; its fields are keys of the recipe's ``[method]`` table and ``--method.*`` flags.

    Class variables say what a training step has to provide; a step computes nothing that no method asks for.
    """

    uses_teacher: ClassVar[bool] = True
    """Whether the teacher's outputs are wanted at all."""
    uses_networks: ClassVar[bool] = False
    """Whether ``losses`` runs student or teacher itself, on other images or block by block."""

    @property
    def uses_exits(self) -> bool:
        """Whether student and teacher are to give intermediate images."""
        return False

    @property
    def feature_depths(self) -> tuple[float, ...]:
        """Relative depths, each in (0, 1], at which both networks' features are wanted; 1.0 is the last block."""
        return ()

    @property
    def more_teachers(self) -> tuple[str, ...]:
        """Checkpoints of further teachers of the same scale, beside the recipe's own."""
        return ()

    @property
    def more_files(self) -> tuple[str, ...]:
        """Files other than teachers whose content decides what is learnt; a run is resumed only with the same."""
        return ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a table of results must say of this method beside the settings that are not its defaults."""
        return ()

    def resolved(self, scale: int) -> Method:
        """The same settings with every default that depends on the scale filled in."""
        return self

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.Module | None:
        """Trainable modules that serve distillation only; ``exits`` counts the intermediate exits.

        They are trained, averaged and saved with the student, but dropped when it is deployed. Buffers and frozen
        parameters are welcome: that is how a method keeps state from step to step. ``teachers`` is empty for a method
        without one; a frozen teacher must never become part of the heads.

        Raises HkdsrError where the method is not defined for this pair of networks.
        """
        return None

    def before_step(self, heads: nn.Module | None, student: Network, step: int) -> None:
        """Called once before every training step (from 0), for methods whose heads follow the student."""
        return

    @abstractmethod
    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        """Named scalar terms, weights included, whose sum is minimised; each is logged under its name.

        The L1 of the final image to the ground truth is named ``pixel`` and that to the teacher's final image
        ``logits``, so that methods can be composed without counting them twice.
        """


def cumulative(weights: list[float]) -> list[float]:
    """Weights of K outputs times K, K-1, ..., 1, which the released code gives them by mistake (docs/method.md)."""
    return [weight * (len(weights) - index) for index, weight in enumerate(weights)]
