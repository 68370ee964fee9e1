"""The discriminator of the method ``adversarial``: a score for each patch of an image."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2


class Discriminator(nn.Module):
    """Scores of patches: high for the teacher's images, low for the student's.

    ``halvings`` 4x4 convolutions with stride 2, the first with ``features`` channels and each further one with twice
    as many, then two of 3x3. With two halvings, a score sees 26 pixels a side. All weights have the spectral norm 1,
    so that scores can differ only as far as images do. The last layer has no bias, since only differences count.
    """

    def __init__(self, features: int, halvings: int) -> None:
        super().__init__()
        widths = [3, *(features << index for index in range(halvings))]
        layers: list[nn.Module] = []
        for inward, outward in pairwise(widths):
            layers += [spectral_norm(nn.Conv2d(inward, outward, 4, 2, 1)), nn.LeakyReLU(SLOPE)]
        layers += [spectral_norm(nn.Conv2d(widths[-1], widths[-1], 3, 1, 1)), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)))

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B, 1, h, w) of images (B, 3, H, W), h = H / 2**halvings."""
        return self.layers(images)
