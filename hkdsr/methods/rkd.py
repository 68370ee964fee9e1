"""RKD: distances and angles between the images of a batch are to be the same for both networks.

W. Park et al., "Relational knowledge distillation", CVPR 2019:

    L = mean |S - G| + distance_weight * sum_l D_l + angle_weight * sum_l A_l

x_i is one vector of the features, or of the output, of the i-th image. D is the mean over pairs (i, j) of the Huber
loss between psi_ij of student and teacher, where psi_ij is |x_i - x_j| divided by the mean of all such distances that
are not zero. A is the mean over triples (i, j, k) of the Huber loss between the cosines of the angle at x_j. Means
include i = j, as in the authors' code. With ``training.accumulate`` or several processes, only images of the same part
of a batch are compared with one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.methods.features import FeatureMethod, feature_pairs, require_batch
from hkdsr.settings.choices import RkdOn

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs


@dataclass(frozen=True)
class RKD(FeatureMethod):
    """Settings of RKD; HkdsrError for wrong depths and a negative weight.

    ``losses`` raises HkdsrError for a batch of fewer than three images, for which both terms are zero.
    """

    depths: tuple[float, ...] = (1.0,)
    """Relative depths of the taps of both networks (the paper: the last features); not used if ``on`` is ``output``."""
    distance_weight: float = 1.0
    """Weight of the distances D, as in the authors' example."""
    angle_weight: float = 2.0
    """Weight of the angles A, as in the authors' example. With these two weights, the gradients of D and A are about
    as large as that of the pixel term at the beginning."""
    on: RkdOn = "features"
    """What represents an image. ``features``: the features at ``depths``. ``output``: the output images."""

    @property
    def feature_depths(self) -> tuple[float, ...]:
        return self.depths if self.on == "features" else ()

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch
        from torch.nn.functional import smooth_l1_loss

        assert inputs.teacher is not None
        require_batch("rkd", inputs, 3)
        pairs = feature_pairs(inputs) if self.on == "features" else [(inputs.student.final, inputs.teacher.final)]
        distances, angles = [], []
        for student, teacher in pairs:
            (psi, cosines), (teacher_psi, teacher_cosines) = relations(student), relations(teacher)
            distances.append(smooth_l1_loss(psi, teacher_psi))
            angles.append(smooth_l1_loss(cosines, teacher_cosines))
        return {
            "pixel": self.pixel(inputs),
            "distance": self.distance_weight * torch.stack(distances).sum(),
            "angle": self.angle_weight * torch.stack(angles).sum(),
        }


def relations(maps: Tensor) -> tuple[Tensor, Tensor]:
    """psi (B, B) and cosines (B, B, B) of maps (B, C, h, w); the middle index is that of the angle's vertex.

    Both are computed from the scalar products of all pairs, so differences of maps need no memory. Distances that
    cannot be distinguished from rounding errors, at most 0.2 % of the largest in float32, are taken as zero.
    """
    import torch

    rows = maps.flatten(1)
    rows = rows - rows.mean(0)
    products = rows @ rows.mT
    squares = products.diag()
    squared = squares[:, None] + squares - 2 * products
    differ = squared > 16 * torch.finfo(squared.dtype).eps * squared.detach().max()
    # The derivative of the square root is infinite at zero, so zeros are replaced before it.
    distances = squared.where(differ, 1.0).sqrt()
    mean = (distances * differ).sum() / differ.sum().clamp(min=1)
    psi = (distances / mean.where(mean > 0, 1.0)) * differ
    dots = products[:, None, :] - products[:, :, None] - products[None, :, :] + squares[None, :, None]
    both = differ[:, :, None] & differ[None, :, :]
    return psi, dots / (distances[:, :, None] * distances[None, :, :]) * both
