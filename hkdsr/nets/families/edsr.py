"""EDSR: plain residual blocks without batch normalisation.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops 2017. Parameter names
are those of the authors' released files, which therefore load strictly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from hkdsr.nets.base import Network
from hkdsr.nets.families.layers import MeanShift, Upsampler, conv3x3, require_positive, sequence_length, upsampler_scale


class ResidualBlock(nn.Module):
    """x + res_scale * conv(relu(conv(x))) on (B, features, h, w)."""

    def __init__(self, features: int, res_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(conv3x3(features, features), nn.ReLU(inplace=True), conv3x3(features, features))
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res_scale * self.body(x)


class EDSR(Network):
    """EDSR with ``blocks`` residual blocks of ``features`` channels; the blocks are the taps.

    The paper's baseline is 64 features and 16 blocks; its large model is 256 features and 32 blocks, whose residuals
    are scaled by ``res_scale`` 0.1 to keep training stable.
    """

    family = "edsr"
    has_upsampler = True
    colour_range = 255.0

    def __init__(self, scale: int, features: int = 64, blocks: int = 16, res_scale: float = 1.0) -> None:
        super().__init__(scale)
        require_positive({"features": features, "blocks": blocks})
        self.features, self.res_scale = features, res_scale
        self.sub_mean = MeanShift(-1)
        self.add_mean = MeanShift(1)
        self.head = nn.Sequential(conv3x3(3, features))
        self.body = nn.Sequential(
            *(ResidualBlock(features, res_scale) for _ in range(blocks)), conv3x3(features, features)
        )
        self.tail = nn.Sequential(Upsampler(scale, features), conv3x3(features, 3))

    @property
    def channels(self) -> int:
        return self.features

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return list(self.body)[:-1]

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {
            "scale": self.scale,
            "features": self.features,
            "blocks": len(self.blocks),
            "res_scale": self.res_scale,
        }

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        """As in ``Network``. No tensor tells ``res_scale``: it is the paper's, 0.1 for 256 features, else 1."""
        needed = ("sub_mean.weight", "head.0.weight", "body.0.body.0.weight", "body.0.body.2.weight", "tail.0.0.weight")
        if any(name not in state for name in needed):
            return None
        features = state["head.0.weight"].shape[0]
        return {
            "scale": upsampler_scale(state, "tail.0"),
            "features": features,
            "blocks": sequence_length(state, "body") - 1,
            "res_scale": 0.1 if features == 256 else 1.0,
        }

    def shallow(self, x: Tensor) -> Tensor:
        return self.head(self.sub_mean(self.colour_range * x))

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        return self.add_mean(self.tail(self.body[-1](deep) + shallow)) / self.colour_range
