"""RLFN, the residual local feature network (Kong et al., CVPR workshops 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.layers import SpatialAttention, conv3x3, require_positive

SLOPE = 0.05


class ResidualLocalFeature(nn.Module):
    """RLFB: three convolutions with a skip connection, a 1x1 one, and ESA; (B, features, h, w) -> the same shape.

    With ``esa_channels`` of 0 there is no ESA, and a pixel of the result depends on 7x7 pixels.
    """

    def __init__(self, features: int, esa_channels: int) -> None:
        super().__init__()
        self.c1_r = conv3x3(features, features)
        self.c2_r = conv3x3(features, features)
        self.c3_r = conv3x3(features, features)
        self.c5 = nn.Conv2d(features, features, 1)
        self.esa = SpatialAttention(features, esa_channels) if esa_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        refined = x
        for convolution in (self.c1_r, self.c2_r, self.c3_r):
            refined = F.leaky_relu(convolution(refined), SLOPE)
        return self.esa(self.c5(refined + x))


class RLFN(Network):
    """RLFN with the published width and depth by default: 52 features, 6 blocks, ESA of 16 channels.

    Inside, pixel values are in 0..255, as the published weights expect; input and output are in [0, 1]. The parameters
    have the names of the published weights, which load with ``strict=True``.

    With ``esa_channels`` of 0 it has no attention. It is then made of convolutions alone: every runtime is fast with
    it, and its tiles join without seams, since a pixel depends on near ones only, while ESA sees the whole image.

    Raises HkdsrError for a scale other than 2, 3 or 4, features or blocks below 1, or esa_channels below 0.

    Source: Kong et al., "Residual Local Feature Network for Efficient Super-Resolution", CVPR workshops 2022.
    """

    family = "rlfn"
    colour_range = 255.0

    def __init__(self, scale: int, features: int = 52, blocks: int = 6, esa_channels: int = 16) -> None:
        super().__init__(scale)
        require_positive({"features": features, "blocks": blocks})
        if esa_channels < 0:
            raise HkdsrError(f"esa_channels is {esa_channels}: set it to 0, for no attention, or more")
        self.features = features
        self.esa_channels = esa_channels
        self.block_names = tuple(f"block_{number}" for number in range(1, blocks + 1))
        self.conv_1 = conv3x3(3, features)
        for name in self.block_names:
            self.add_module(name, ResidualLocalFeature(features, esa_channels))
        self.conv_2 = conv3x3(features, features)
        self.upsampler = nn.Sequential(conv3x3(features, 3 * scale**2), nn.PixelShuffle(scale))

    @property
    def channels(self) -> int:
        return self.features

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return tuple(self.get_submodule(name) for name in self.block_names)

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {
            "scale": self.scale,
            "features": self.features,
            "blocks": len(self.block_names),
            "esa_channels": self.esa_channels,
        }

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        if not {"conv_1.weight", "block_1.c1_r.weight", "block_1.c5.weight", "upsampler.0.weight"} <= state.keys():
            return None
        gate = state.get("block_1.esa.conv1.weight")
        return {
            "scale": isqrt(state["upsampler.0.weight"].shape[0] // 3),
            "features": state["conv_1.weight"].shape[0],
            "blocks": sum(name.endswith(".c1_r.weight") for name in state),
            "esa_channels": 0 if gate is None else gate.shape[0],
        }

    def shallow(self, x: Tensor) -> Tensor:
        return self.conv_1(x * self.colour_range)

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        return self.upsampler(self.conv_2(deep) + shallow) / self.colour_range
