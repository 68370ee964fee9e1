"""Features of two networks in comparable units: the size of a network's features, and a head that divides by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from hkdsr.nets.base import Network

PROBE_SIDE = 48


class Comparable(nn.Module):
    """Divides one tap of both networks by the size of its features, and brings the student's to the teacher's width.

    Args:
        project: a layer from the student's features, divided by their size, to the teacher's width; or ``nn.Identity``
            to compare the student's features as they are, divided by the teacher's size.
        sizes: of the student's and the teacher's features (``feature_sizes``).
    """

    own: Tensor
    size: Tensor

    def __init__(self, project: nn.Module, sizes: tuple[float, float]) -> None:
        super().__init__()
        own, size = sizes
        self.project = project
        self.register_buffer("own", torch.tensor(size if isinstance(project, nn.Identity) else own))
        self.register_buffer("size", torch.tensor(size))

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C_S, h, w) and (B, C_T, h, w) -> the same for ``nn.Identity``, else both (B, C_T, h, w)."""
        return self.project(student / self.own), teacher / self.size


@torch.no_grad()
def feature_sizes(network: Network, depths: Sequence[float]) -> list[float]:
    """Root mean square of a network's features at relative ``depths`` for a fixed synthetic image.

    It is given as 1 where all features are zero. Raises HkdsrError for a network that cannot be tapped.
    """
    like = next(network.parameters())
    taps = [network.tap_index(depth) for depth in depths]
    traced = network.trace(_synthetic_image().to(like.device, like.dtype), taps)
    return [float(tap.double().square().mean().sqrt()) or 1.0 for tap in traced.taps]


def _synthetic_image() -> Tensor:
    """Random colours with as much contrast at coarse scales as at fine ones, like photographs: (1, 3, 48, 48)."""
    source = torch.Generator().manual_seed(0)
    sides = [PROBE_SIDE >> octave for octave in range(5)]
    layers = [torch.rand(1, 3, side, side, generator=source) for side in sides]
    whole = [F.interpolate(layer, (PROBE_SIDE, PROBE_SIDE), mode="bilinear") for layer in layers]
    return torch.stack(whole).mean(0)
