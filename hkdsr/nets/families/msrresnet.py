"""MSRResNet: the plain residual network with which BasicSR starts, EDSR's blocks beside an enlarged input.

SRResNet (Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR
2017) without batch normalisation, as BasicSR trains it (its class MSRResNet). The parameters have the names of
BasicSR's files, which load with ``strict=True``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.nets.base import Network
from hkdsr.nets.families.layers import conv3x3, require_positive, sequence_length

NEGATIVE_SLOPE = 0.1
"""Of every LeakyReLU outside the blocks."""


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1(x))) on (B, features, h, w)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3x3(features, features), conv3x3(features, features)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class MSRResNet(Network):
    """``blocks`` residual blocks of ``features`` channels (the taps); its image is added to the bilinear enlargement.

    BasicSR's sizes are 64 features and 16 blocks.
    """

    family = "msrresnet"
    exit_tail = "upsampler"

    def __init__(self, scale: int, features: int = 64, blocks: int = 16) -> None:
        super().__init__(scale)
        require_positive({"features": features, "blocks": blocks})
        self.features = features
        self.conv_first = conv3x3(3, features)
        self.body = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.upconvs = {"upconv1": 2, "upconv2": 2} if scale == 4 else {"upconv1": scale}
        for name, factor in self.upconvs.items():
            self.add_module(name, conv3x3(features, features * factor**2))
        self.conv_hr = conv3x3(features, features)
        self.conv_last = conv3x3(features, 3)

    @property
    def channels(self) -> int:
        return self.features

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return list(self.body)

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {"scale": self.scale, "features": self.features, "blocks": len(self.blocks)}

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        needed = ("conv_first", "body.0.conv1", "body.0.conv2", "upconv1", "conv_hr", "conv_last")
        if any(f"{name}.weight" not in state for name in needed):
            return None
        outputs, features = state["upconv1.weight"].shape[:2]
        factor = isqrt(outputs // features)
        return {
            "scale": factor**2 if "upconv2.weight" in state else factor,
            "features": features,
            "blocks": sequence_length(state, "body"),
        }

    def shallow(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv_first(x), NEGATIVE_SLOPE)

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        for name, factor in self.upconvs.items():
            deep = F.leaky_relu(F.pixel_shuffle(self.get_submodule(name)(deep), factor), NEGATIVE_SLOPE)
        detail = self.conv_last(F.leaky_relu(self.conv_hr(deep), NEGATIVE_SLOPE))
        return detail + F.interpolate(x, scale_factor=self.scale, mode="bilinear")
