"""Features as images, so that they are kept on the disk, cut into crops and read like a teacher's images.

For the affinity of features, only the cosines between positions count. So each position's features are divided by their
length and replaced by their coordinates along a few directions, in which most of them lies; and these are arranged as
the pixels of images of the HR size, of which 8 bits a value are kept. A crop that is turned has its coordinates in
another order, the same at all positions: cosines do not notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.nets.base import in_full_precision

KEPT = 24
"""Coordinates that are kept of each position at least, or all: of 52 channels, 24 hold 97 % of the squared length."""
COLOURS = 3


class FeatureImages(nn.Module):
    """Makes images of the outputs of blocks ``taps``, and features of images.

    ``directions`` are orthonormal (k, C), one for each tap: see ``principal_directions``. At ``scale`` s an image holds
    3 * s^2 coordinates, so a tap has as many images as its k coordinates need.
    """

    def __init__(self, taps: Sequence[int], directions: Sequence[Tensor], scale: int) -> None:
        super().__init__()
        self.taps, self._scale = tuple(taps), scale
        for index, of_tap in enumerate(directions):
            self.register_buffer(f"directions{index}", of_tap)

    @property
    def directions(self) -> tuple[Tensor, ...]:
        """Those of every tap."""
        return tuple(self.get_buffer(f"directions{index}") for index in range(len(self.taps)))

    @property
    def planes(self) -> int:
        """Images for each LR image."""
        return sum(self._counts())

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Features (B, C, h, w) of every tap -> images (B, 3, scale*h, scale*w) with values in [0, 1]."""
        images: list[Tensor] = []
        for of_tap, directions in zip(features, self.directions, strict=True):
            coordinates = in_full_precision(_coordinates, of_tap, directions)
            missing = -coordinates.shape[1] % self._of_image
            padded = F.pad((coordinates + 1) / 2, (0, 0, 0, 0, 0, missing), value=0.5)
            images += [F.pixel_shuffle(part, self._scale) for part in padded.split(self._of_image, dim=1)]
        return tuple(images)

    def features(self, images: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The ``images`` of ``forward``, or crops of them -> the coordinates (B, k', h, w), k' >= k, of every tap."""
        found = torch.stack([F.pixel_unshuffle(image, self._scale) for image in images]) * 2 - 1
        return tuple(torch.cat(list(of_tap), dim=1) for of_tap in found.split(self._counts()))

    @property
    def _of_image(self) -> int:
        return COLOURS * self._scale**2

    def _counts(self) -> list[int]:
        return [ceil(len(directions) / self._of_image) for directions in self.directions]


def principal_directions(features: Tensor) -> Tensor:
    """The directions (k, C), float32, in which most of the normalised ``features`` (B, C, h, w) lies; k is min(C, 24).

    They are the leading eigenvectors of the second moments of F / |F|.
    """
    flat = F.normalize(features.double(), dim=1).transpose(0, 1).flatten(1)
    found = torch.linalg.eigh(flat @ flat.T).eigenvectors
    return found[:, -KEPT:].T.flip(0).float().contiguous()


def _coordinates(features: Tensor, directions: Tensor) -> Tensor:
    """Along ``directions`` (k, C), of the features (B, C, h, w) divided by their length: (B, k, h, w) in [-1, 1]."""
    return F.conv2d(F.normalize(features, dim=1), directions[..., None, None].to(features.dtype))
