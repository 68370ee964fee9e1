"""MTKD: one student of several teachers, compared in wavelet bands.

Y. Jiang et al., "MTKD: multi-teacher knowledge distillation for image super-resolution", ECCV 2024:

    L = wavelet_weight * sum_b mean |W_b(S) - W_b(M)| + 0.1 mean |S - G|

with W_b the four bands of a one-level Haar transform, the low band included, and M one image made from those of all
teachers. In the paper, a network (DCTSwin) makes M, which is trained for this in a stage of its own. Here there is no
such network: M is the mean of the teachers' images, or at every pixel the image of the teacher that is nearest to the
ground truth. So results here do not show the quality of the paper's M. The paper's code trains with plain L1 instead of
the bands; this follows the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from hkdsr.methods.base import Method
from hkdsr.methods.checks import require_weights
from hkdsr.settings.choices import MtkdAggregate
from hkdsr.settings.fields import CONTENT

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs


@dataclass(frozen=True)
class MTKD(Method):
    """Settings of MTKD; HkdsrError for a negative weight."""

    teachers: tuple[str, ...] = field(default=(), metadata=CONTENT)
    """Checkpoints of further teachers of the same scale, in addition to the recipe's teacher. They run at every step,
    on the crops; images of the recipe's teacher come from the cache, if it is used."""
    aggregate: MtkdAggregate = "mean"
    """How M is made. ``mean``: the mean of all teachers' images. ``nearest``: at every pixel, the colour of the teacher
    that is nearest to the ground truth."""
    wavelet_weight: float = 1.0
    """Weight of the L1 between the bands of S and of M."""
    pixel_weight: float = 0.1
    """Weight of the L1 to the ground truth."""

    uses_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_weights(self)

    @property
    def more_teachers(self) -> tuple[str, ...]:
        return self.teachers

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        from hkdsr.losses import haar

        assert inputs.teacher is not None
        student = inputs.student.final
        others = [inputs.teacher_on(inputs.lr, 1 + index) for index in range(len(self.teachers))]
        target = aggregated(torch.stack([inputs.teacher.final, *others]), inputs.hr, self.aggregate)
        # The transform is linear: the bands of the difference are the differences of the bands.
        bands = haar(student - target, 1)
        return {
            "pixel": self.pixel_weight * (student - inputs.hr).abs().mean(),
            "wavelet": self.wavelet_weight * torch.stack([band.abs().mean() for band in bands]).sum(),
        }


def aggregated(images: Tensor, hr: Tensor, how: MtkdAggregate) -> Tensor:
    """The images of all teachers (K, B, 3, H, W) and the ground truth (B, 3, H, W) -> M (B, 3, H, W)."""
    if how == "mean":
        return images.mean(0)
    errors = (images - hr).abs().sum(2, keepdim=True)
    nearest = errors.argmin(0, keepdim=True).expand_as(images[:1])
    return images.gather(0, nearest)[0]
