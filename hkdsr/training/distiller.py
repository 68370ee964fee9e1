"""Everything that is trained, in one module: student, exits, the method's heads. Its outputs are the loss terms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hkdsr.methods.base import ALL_IMAGES, Method, Strides
from hkdsr.methods.inputs import LossInputs, every
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, Outputs
from hkdsr.settings.choices import Compile
from hkdsr.training.compiling import compiled
from hkdsr.training.schedule import MethodSchedule


class Unregistered(tuple[Network, ...]):
    """Networks that a module uses but does not own: they are neither registered in it nor copied with it."""

    def __deepcopy__(self, memo: Any) -> Unregistered:
        return self


class Distiller(nn.Module):
    """Student, exits and method heads as one module, so that devices, averaging and checkpoints treat them alike.

    Frozen ``teachers`` are not part of it: their outputs are given to it as constants, and a method that runs them
    finds them in its inputs, but they are neither moved, trained nor saved with this module.

    ``schedule`` gives the weight of the method at each step. It is ``weight`` until the next; while that is 0, neither
    exits nor features are computed.

    Raises HkdsrError if the method is not defined for these networks.
    """

    def __init__(
        self,
        student: Network,
        exits: Exits | None,
        method: Method,
        teachers: Sequence[Network] = (),
        schedule: MethodSchedule | None = None,
    ) -> None:
        super().__init__()
        self.schedule = schedule or MethodSchedule()
        self.weight = 1.0
        self.student = student
        self.exits = exits
        self.method = method
        self.feature_taps = feature_taps(student, method.feature_depths)
        self._run = student_outputs
        self._teachers = Unregistered(teachers)
        self.heads = method.heads(student, tuple(teachers), len(exits.taps) if exits else 0)

    def forward(self, lr: Tensor, hr: Tensor, teacher: Outputs | None) -> dict[str, Tensor]:
        """LR (B, 3, p, p), HR (B, 3, scale*p, scale*p) in [0, 1], the teacher's outputs -> named loss terms.

        ``hr`` is the target: the teacher's image where that takes the place of the ground truth. A method whose
        ``weight`` is below 1 is mixed with the L1 to the target.
        """
        outputs = self.outputs(lr) if self.weight else Outputs(self.student(lr))
        kind = lr.device.type
        autocast = None
        if torch.is_autocast_enabled(kind):
            autocast = torch.autocast(kind, torch.get_autocast_dtype(kind))
        inputs = LossInputs(lr, hr, in_full(outputs), teacher, self.student, self._teachers, autocast)
        # The student may run in bf16, but its precision is too low for losses of nearly equal images.
        with torch.autocast(kind, enabled=False):
            terms = self.method.losses(self.heads, inputs) if self.weight else {}
            return terms if self.weight == 1 else self._mixed(terms, inputs)

    @property
    def teachers(self) -> Sequence[Network]:
        """The frozen teachers, the recipe's own first; none for a method without a teacher."""
        return self._teachers

    def before_step(self, step: int) -> None:
        """Set the method's weight, and update what its heads take over from the student, for step ``step`` (from 0)."""
        self.weight = self.schedule.weight(step)
        self.method.before_step(self.heads, self.student, step)

    def outputs(self, lr: Tensor) -> Outputs:
        """The student's final image, exits and features."""
        strides = self.method.strides
        base = base_of_exits(self.student, lr, self.exits, strides)
        return self._run(self.student, lr, self.exits, self.feature_taps, strides, base)

    def compile_networks(self, choice: Compile, device: torch.device) -> None:
        """Compile student and exits, as ``training.compile`` says, for steps on ``device``."""
        self._run = compiled(student_outputs, choice, device)

    def _mixed(self, terms: dict[str, Tensor], inputs: LossInputs) -> dict[str, Tensor]:
        plain = (1 - self.weight) * (inputs.student.final - inputs.hr).abs().mean()
        scaled = {name: self.weight * value for name, value in terms.items()}
        return {**scaled, "pixel": plain + scaled["pixel"] if "pixel" in scaled else plain}


def feature_taps(network: Network, depths: Sequence[float]) -> tuple[int, ...]:
    """Block indices of relative ``depths``, which may coincide in a shallow network.

    Raises HkdsrError for a network that cannot be tapped.
    """
    return tuple(network.tap_index(depth) for depth in depths)


def student_outputs(
    student: Network,
    lr: Tensor,
    exits: Exits | None,
    features: Sequence[int],
    strides: Strides,
    base: Tensor | None = None,
) -> Outputs:
    """``traced_outputs``; without exits and features the student may be one that cannot be tapped."""
    if exits is None and not features:
        return Outputs(student(lr))
    return traced_outputs(student, lr, exits, features, strides, base)


def base_of_exits(network: Network, lr: Tensor, exits: Exits | None, strides: Strides) -> Tensor | None:
    """The ``base`` of ``traced_outputs``, apart from it since the weights of the enlargement cannot be compiled."""
    return exits.base(every(strides.exits, lr), network.scale) if exits and exits.taps else None


def traced_outputs(
    network: Network,
    lr: Tensor,
    exits: Exits | None,
    features: Sequence[int],
    strides: Strides = ALL_IMAGES,
    base: Tensor | None = None,
) -> Outputs:
    """Final image, exits and the outputs of blocks ``features`` of one forward pass on (B, 3, h, w).

    Exits and features are those of the images that ``strides`` name. ``base`` is what ``base_of_exits`` gives, where it
    has been made before.
    """
    taps = exits.taps if exits else ()
    traced = network.trace(lr, (*taps, *features))
    height, width = lr.shape[-2:]
    kept = tuple(every(strides.features, tap)[..., :height, :width] for tap in traced.taps[len(taps) :])
    if not exits or not taps:
        return Outputs(traced.sr, (), kept)
    part = dataclasses.replace(
        traced,
        taps=tuple(every(strides.exits, tap) for tap in traced.taps[: len(taps)]),
        shallow=every(strides.exits, traced.shallow),
    )
    return Outputs(traced.sr, exits(every(strides.exits, lr), part, network.scale, base), kept)


def in_full(outputs: Outputs) -> Outputs:
    """``outputs`` in float32."""
    return Outputs(
        outputs.final.float(), tuple(p.float() for p in outputs.exits), tuple(f.float() for f in outputs.features)
    )
