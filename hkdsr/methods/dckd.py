"""DCKD: the student's image is to be near the teacher's and far from images of an earlier student.

Y. Zhou et al., "Dynamic contrastive knowledge distillation for efficient image restoration", AAAI 2025:

    L = mean |S(x) - G| + mean |S(x) - T(x)| + consistency_weight * mean |S(x) - C^-1(T(C(x)))|
        + 0.1 sum_i w_i d(f_i(T(x)), f_i(S(x))) / (sum_k d(f_i(H(x_k)), f_i(S(x))) + 1e-7)

with f_i the i-th layer of a feature network, d the mean absolute difference, w_i = 1/32, 1/16, 1/8, 1/4, 1. H is the
history: a copy of the student that is updated from it at long intervals. x_1 is x; the other x_k are x with Gaussian
noise. C are random changes that can be undone; the term with C is in the authors' settings for SwinIR.

Differences from the paper and its code: features are the teacher's taps or those of VGG19, not of a VQGAN; the codebook
term, 0.001 times a cross-entropy between codes, is left out. H is updated from the weights being trained, not from
their running average, and at a constant interval; the authors' interval grows from 1000 to 3000 steps in 250 000 steps.

In addition to output distillation, a step costs ``negatives`` passes of the student, one of the teacher, and
``negatives`` + 2 of the feature network, one of them with a backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.methods.checks import require_fractions, require_least
from hkdsr.methods.contrastive import ContrastiveMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network

WEAKEST, STRONGEST = 1 / 255, 30 / 255
"""Least and largest standard deviation of the noise, for images in [0, 1]."""
GREY = 0.5
"""Probability that the noise of an image is the same in all three colours."""


@dataclass(frozen=True)
class DCKD(ContrastiveMethod):
    """Settings of DCKD; HkdsrError for wrong depths, negative weights, counts below 1 and fractions outside [0, 1]."""

    contrast_weight: float = 0.1
    """Weight of the contrastive term; the authors', for features of a VQGAN. With the teacher's taps, the term's
    gradient is several times as large as that of the pixel term; 0.02 makes them about equal."""
    teacher_weight: float = 1.0
    """Weight of the L1 to the teacher's image."""
    consistency_weight: float = 1.0
    """Weight of the L1 to the teacher's image of changed input with the change undone; 0: it is not computed."""
    probability: float = 0.5
    """Probability of each change for each image: inverted colours, horizontal flip, vertical flip, transposition."""
    negatives: int = 5
    """Number of images of the history: one of the unchanged input, the others of noisy input."""
    history_every: int = 1000
    """Steps between two updates of the history."""
    history_kept: float = 0.1
    """Fraction of its weights that the history keeps in an update, from 0 to 1; the rest is taken from the student."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_least(self, 1, "negatives", "history_every")
        require_fractions(self, "probability", "history_kept")

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleDict:
        """The frozen history, a copy of the student. Raises HkdsrError as ``require_features`` does."""
        import copy

        from torch import nn

        self.require_features(teachers[0])
        return nn.ModuleDict({"history": copy.deepcopy(student).requires_grad_(False)})

    def before_step(self, heads: nn.Module | None, student: Network, step: int) -> None:
        """Update the history from the student every ``history_every`` steps."""
        import torch

        if step == 0 or step % self.history_every:
            return
        with torch.no_grad():
            for own, new in zip(_history(heads).parameters(), student.parameters(), strict=True):
                own.lerp_(new, 1 - self.history_kept)

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        from hkdsr.losses.contrast import contrast
        from hkdsr.methods.zoom import changed, random_changes, restored

        assert inputs.teacher is not None
        student, teacher = inputs.student.final, inputs.teacher.final
        terms = {
            "pixel": self.pixel(inputs),
            "logits": self.teacher_weight * (student - teacher).abs().mean(),
        }
        if self.consistency_weight:
            changes = random_changes(len(inputs.lr), self.probability)
            target = restored(inputs.teacher_on(changed(inputs.lr, changes)), changes)
            terms["consistency"] = self.consistency_weight * (student - target).abs().mean()
        maps = self.feature_maps(inputs)
        anchor = maps(student)
        with torch.no_grad():
            positive = maps(teacher)
            negatives = [maps(image) for image in self._history_images(_history(heads), inputs)]
        terms["contrast"] = self.contrast_weight * contrast(anchor, positive, negatives)
        return terms

    def _history_images(self, history: nn.Module, inputs: LossInputs) -> Iterator[Tensor]:
        """The images of the history, in [0, 1]."""
        for index in range(self.negatives):
            lr = noisy(inputs.lr) if index else inputs.lr
            with inputs.autocast or nullcontext():
                image = history(lr).to(lr.dtype)
            yield image.clamp(0, 1)


def noisy(images: Tensor) -> Tensor:
    """Images (B, 3, h, w) in [0, 1] with Gaussian noise, clamped to [0, 1].

    Each has a random standard deviation from 1/255 to 30/255. For a random half of them, the noise is grey.
    """
    import torch

    # Drawn on the CPU, so that the choices are the same on every device.
    shape = (len(images), 1, 1, 1)
    deviation = WEAKEST + (STRONGEST - WEAKEST) * torch.rand(shape, dtype=images.dtype)
    grey = torch.rand(shape) < GREY
    noise = torch.randn(images.shape, dtype=images.dtype)
    noise = deviation * torch.where(grey, noise[:, :1], noise)
    return (images + noise.to(images.device)).clamp(0, 1)


def _history(heads: nn.Module | None) -> nn.Module:
    assert heads is not None
    return heads.get_submodule("history")
