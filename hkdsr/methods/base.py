"""What a distillation method is: a frozen dataclass of settings, with trainable heads and loss terms.

A method does not handle files, devices or training loops. It imports torch inside functions or under TYPE_CHECKING, so
that ``--help`` is quick.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from hkdsr.paths import is_file, user_path
from hkdsr.settings.choices import Init
from hkdsr.settings.fields import accept_single_values, as_tuple, resume_kind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


class Strides(NamedTuple):
    """Exits and features are those of every n-th image of a batch, from the first, each with an n of its own.

    Nothing else is computed: the teacher then runs for features on these images alone. Crops are drawn independently
    of one another, so that means over part of a batch have the same expectation as those over all of it.
    """

    exits: int = 1
    features: int = 1


ALL_IMAGES = Strides()


@dataclass(frozen=True)
class Method(ABC):
    """Base class of methods; the fields are keys of the recipe's ``[method]`` table and ``--method.*`` flags.

    Class variables and properties declare what a training step must compute; nothing else is computed.
    """

    uses_teacher: ClassVar[bool] = True
    """Whether the method needs the teacher's outputs."""
    uses_networks: ClassVar[bool] = False
    """Whether ``losses`` runs the student or the teacher itself, on other images or block by block."""

    def __post_init__(self) -> None:
        accept_single_values(self)

    @property
    def uses_exits(self) -> bool:
        """Whether the method needs the exits of student and teacher."""
        return False

    @property
    def feature_depths(self) -> tuple[float, ...]:
        """Relative depths, each in (0, 1], at which both networks are tapped for features; 1.0 is the last block."""
        return ()

    @property
    def stores_features(self) -> bool:
        """Whether of the teacher's features only the cosines between positions are needed, and are taken from the disk.

        The teacher's features are then coordinates of another number of channels (``hkdsr.nets.feature_images``), or
        the features themselves where there is nothing on the disk.
        """
        return False

    @property
    def strides(self) -> Strides:
        """Of which images of a batch the method needs exits and features; all of them by default."""
        return ALL_IMAGES

    @property
    def more_teachers(self) -> tuple[str, ...]:
        """Checkpoints of further teachers of the same scale, in addition to the recipe's teacher."""
        return ()

    @property
    def more_files(self) -> tuple[str, ...]:
        """Files that are not teachers and whose content must be the same when a run is continued.

        These are the existing files that settings declared with ``CONTENT`` name (``hkdsr.settings.fields``): a
        setting's value is one text or path, or a tuple of them.
        """
        declared = [getattr(self, setting.name) for setting in fields(self) if resume_kind(setting) == "content"]
        named = [str(value) for values in declared for value in as_tuple(values) if value]
        return tuple(name for name in named if name not in self.more_teachers and is_file(user_path(name)))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Facts that a table of results must state about this method, besides settings that are not the defaults."""
        return ()

    def resolved(self, scale: int, init: Init = "scratch") -> Method:
        """The same settings, with values for those whose defaults depend on the scale or on the student's start."""
        return self

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.Module | None:
        """Modules that are used only for distillation; None if there are none.

        They are trained, averaged and saved with the student, and dropped when the student is deployed. A method keeps
        state from step to step in buffers or frozen parameters of its heads. A teacher must never be part of them.

        Args:
            student: the network to train.
            teachers: the recipe's teacher and those of ``more_teachers``; empty for a method without a teacher.
            exits: number of the student's exits, without the final output.

        Raises:
            HkdsrError: the method is not defined for these networks.
        """
        return None

    def before_step(self, heads: nn.Module | None, student: Network, step: int) -> None:
        """Called once before every training step (from 0), for methods that update their heads from the student."""
        return

    @abstractmethod
    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        """The loss terms of a step by name: scalars, weights included. Their sum is minimised; each is logged.

        The L1 between the student's final image and the ground truth is named ``pixel``, that to the teacher's final
        image ``logits``: a sum of methods counts these two once.
        """
