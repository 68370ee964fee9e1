"""RKD: the student keeps distances and angles between the images of a batch.

W. Park et al., "Relational knowledge distillation", CVPR 2019:

    L = mean |S - G| + distance_weight * sum_l D_l + angle_weight * sum_l A_l

D is the mean over pairs (i, j) of the Huber loss between psi_ij of student and teacher, psi_ij = |x_i - x_j| over the
mean of all such distances that are not zero; A the mean over triples (i, j, k) of the Huber loss between the cosines of
the angle at x_j. x_i is what a network makes of the i-th image, flattened. Means include i = j, as in the authors'
code. Parts of a batch that are trained one after the other (``training.accumulate``), or by different processes, are
compared among themselves only.
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
    """Settings of RKD; its losses raise HkdsrError for a batch of less than three images, where both are zero."""

    depths: tuple[float, ...] = (1.0,)
    """Where both networks are tapped; the paper takes the last features alone. Without effect on outputs."""
    distance_weight: float = 1.0
    angle_weight: float = 2.0
    """Both as in the authors' example; their gradients begin at the size of the pixels'."""
    on: RkdOn = "features"
    """``output``: the images that both networks make take the place of features."""

    @property
    def feature_depths(self) -> tuple[float, ...]:
        return self.depths if self.on == "features" else ()

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch
        from torch.nn.functional import smooth_l1_loss

        assert inputs.teacher is not None
        require_batch("rkd", inputs, 3)
        of_features = self.on == "features"
        pairs = feature_pairs(inputs) if of_features else [(inputs.student.final, inputs.teacher.final)]
        apart, angles = [], []
        for student, teacher in pairs:
            (psi, cosines), (goal_psi, goal_cosines) = relations(student), relations(teacher)
            apart.append(smooth_l1_loss(psi, goal_psi))
            angles.append(smooth_l1_loss(cosines, goal_cosines))
        return {
            "pixel": self.pixel(inputs),
            "distance": self.distance_weight * torch.stack(apart).sum(),
            "angle": self.angle_weight * torch.stack(angles).sum(),
        }


def relations(maps: Tensor) -> tuple[Tensor, Tensor]:
    """psi (B, B) and cosines (B, B, B), the middle index at the vertex, of (B, C, h, w).

    Both follow from the scalar products of all images, so that no differences of maps are kept. Distances too small
    to tell from rounding, at most 0.2 % of the largest in float32, count as zero.
    """
    import torch

    rows = maps.flatten(1)
    rows = rows - rows.mean(0)
    products = rows @ rows.mT
    squares = products.diag()
    apart = squares[:, None] + squares - 2 * products
    differ = apart > 16 * torch.finfo(apart.dtype).eps * apart.detach().max()
    # The root's derivative is infinite at zero, so zeros are kept away from it.
    distances = apart.where(differ, 1.0).sqrt()
    mean = (distances * differ).sum() / differ.sum().clamp(min=1)
    psi = (distances / mean.where(mean > 0, 1.0)) * differ
    towards = products[:, None, :] - products[:, :, None] - products[None, :, :] + squares[None, :, None]
    proper = differ[:, :, None] & differ[None, :, :]
    return psi, towards / (distances[:, :, None] * distances[None, :, :]) * proper
