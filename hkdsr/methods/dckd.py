"""DCKD: the student's image far from those that its former self makes of noisy input, and near the teacher's.

Y. Zhou et al., "Dynamic contrastive knowledge distillation for efficient image restoration", AAAI 2025:

    L = mean |S(x) - G| + mean |S(x) - T(x)| + consistency_weight * mean |S(x) - C^-1(T(C(x)))|
        + 0.1 sum_i w_i d(f_i(T(x)), f_i(S(x))) / (sum_k d(f_i(H(x_k)), f_i(S(x))) + 1e-7)

with f_i the i-th layer of a feature network, d the mean absolute difference, w_i = 1/32, 1/16, 1/8, 1/4, 1. H is the
history: a copy of the student that follows it at long intervals. x_1 is x itself, the other x_k are x with Gaussian
noise. C are random changes that can be undone; the term with them is in the authors' settings for SwinIR.

What differs from there: features are the teacher's taps or VGG19's, not those of a VQGAN; its codebook term, 0.001
times a cross-entropy between codes, is left out. H follows the student's weights as trained, not their running average,
and at one interval, where the authors' grows from 1000 steps to 3000 in the course of 250 000.

Beside output distillation a step costs ``negatives`` passes of the student, one of the teacher, and ``negatives`` + 2
of the feature network, one of them with its gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.contrastive import ContrastiveMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network

WEAKEST, STRONGEST = 1 / 255, 30 / 255
GREY = 0.5
"""How probable it is that noise is the same in all three colours."""


@dataclass(frozen=True)
class DCKD(ContrastiveMethod):
    """Settings of DCKD; HkdsrError for counts below 1, and for a share or probability outside [0, 1]."""

    contrast_weight: float = 0.1
    """The authors', for a VQGAN's features. With the teacher's taps its gradient is several times that of the pixels;
    0.02 makes them alike."""
    teacher_weight: float = 1.0
    """Weight of the L1 to the teacher's image."""
    consistency_weight: float = 1.0
    """Weight of the L1 to what the teacher makes of changed input, the change undone; 0: not computed."""
    probability: float = 0.5
    """That of each change for each image: inverted colours, either flip, transposition."""
    negatives: int = 5
    """Images of the history: one of the input as it is, the others of noisy input."""
    history_every: int = 1000
    """Steps between two updates of the history."""
    history_kept: float = 0.1
    """Share of its own weights that it keeps in an update; the rest are the student's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("negatives", "history_every"):
            if getattr(self, name) < 1:
                raise HkdsrError(f"method.{name} is {getattr(self, name)}: set it to 1 or more")
        for name in ("probability", "history_kept"):
            if not 0 <= getattr(self, name) <= 1:
                raise HkdsrError(f"method.{name} is {getattr(self, name)}: set it to a value from 0 to 1")

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleDict:
        """The history, frozen: at first the student as it is. HkdsrError if there are no such features."""
        import copy

        from torch import nn

        self.require_features(teachers[0])
        return nn.ModuleDict({"history": copy.deepcopy(student).requires_grad_(False)})

    def before_step(self, heads: nn.Module | None, student: Network, step: int) -> None:
        """Let the history follow every ``history_every`` steps."""
        import torch

        if step == 0 or step % self.history_every:
            return
        with torch.no_grad():
            for own, new in zip(_history(heads).parameters(), student.parameters(), strict=True):
                own.lerp_(new, 1 - self.history_kept)

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        from hkdsr.losses.contrast import contrast
        from hkdsr.methods.zoom import changed, drawn_changes, restored

        assert inputs.teacher is not None
        student, teacher = inputs.student.final, inputs.teacher.final
        terms = {
            "pixel": self.pixel(inputs),
            "logits": self.teacher_weight * (student - teacher).abs().mean(),
        }
        if self.consistency_weight:
            drawn = drawn_changes(len(inputs.lr), self.probability)
            target = restored(inputs.teacher_on(changed(inputs.lr, drawn)), drawn)
            terms["consistency"] = self.consistency_weight * (student - target).abs().mean()
        maps = self.feature_maps(inputs)
        anchor = maps(student)
        with torch.no_grad():
            positive = maps(teacher)
            negatives = [maps(image) for image in self._former(_history(heads), inputs)]
        terms["contrast"] = self.contrast_weight * contrast(anchor, positive, negatives)
        return terms

    def _former(self, history: nn.Module, inputs: LossInputs) -> Iterator[Tensor]:
        """The history's images, one after the other, in [0, 1]."""
        for index in range(self.negatives):
            lr = noisy(inputs.lr) if index else inputs.lr
            with inputs.autocast or nullcontext():
                image = history(lr).to(lr.dtype)
            yield image.clamp(0, 1)


def noisy(images: Tensor) -> Tensor:
    """Images (B, 3, h, w) in [0, 1] with Gaussian noise, clamped.

    Each has its own standard deviation, from 1 to 30 of 255; half of them, at random, have noise without colour.
    """
    import torch

    # Drawn on the CPU, so that a run sees the same on every device.
    shape = (len(images), 1, 1, 1)
    deviation = WEAKEST + (STRONGEST - WEAKEST) * torch.rand(shape, dtype=images.dtype)
    grey = torch.rand(shape) < GREY
    noise = torch.randn(images.shape, dtype=images.dtype)
    noise = deviation * torch.where(grey, noise[:, :1], noise)
    return (images + noise.to(images.device)).clamp(0, 1)


def _history(heads: nn.Module | None) -> nn.Module:
    assert heads is not None
    return heads.get_submodule("history")
