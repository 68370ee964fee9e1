"""RCAN: residual groups of residual blocks with channel attention.

Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV 2018. Parameter names
are those of the authors' released files (RCAN_BIX2/3/4), which therefore load strictly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.layers import MeanShift, Upsampler, conv3x3, require_positive, sequence_length, upsampler_scale


class ChannelAttention(nn.Module):
    """(B, features, h, w), each channel times a gate in (0, 1) computed from the channels' means (section 3.3)."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        squeezed = features // reduction
        self.conv_du = nn.Sequential(
            nn.Conv2d(features, squeezed, 1), nn.ReLU(inplace=True), nn.Conv2d(squeezed, features, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean((-2, -1), keepdim=True))


class AttentionBlock(nn.Module):
    """The residual channel attention block (RCAB) on (B, features, h, w)."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(features, features),
            nn.ReLU(inplace=True),
            conv3x3(features, features),
            ChannelAttention(features, reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ResidualGroup(nn.Module):
    """``blocks`` RCABs, a convolution and a skip on (B, features, h, w)."""

    def __init__(self, features: int, blocks: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(AttentionBlock(features, reduction) for _ in range(blocks)), conv3x3(features, features)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class RCAN(Network):
    """RCAN with ``groups`` residual groups (the taps) of ``blocks`` RCABs each.

    The paper's model is 10 groups of 20 blocks with 64 features. Students of the distillation literature keep the 10
    groups and take 5 or 6 blocks. Raises HkdsrError if ``reduction`` exceeds ``features``.
    """

    family = "rcan"
    has_upsampler = True
    colour_range = 255.0

    def __init__(self, scale: int, groups: int = 10, blocks: int = 20, features: int = 64, reduction: int = 16) -> None:
        super().__init__(scale)
        require_positive({"groups": groups, "blocks": blocks, "features": features, "reduction": reduction})
        if reduction > features:
            raise HkdsrError(f"reduction is {reduction}: set it to at most the {features} features")
        self._settings: dict[str, int | float | str] = {
            "scale": scale,
            "groups": groups,
            "blocks": blocks,
            "features": features,
            "reduction": reduction,
        }
        self.features = features
        self.sub_mean = MeanShift(-1)
        self.add_mean = MeanShift(1)
        self.head = nn.Sequential(conv3x3(3, features))
        self.body = nn.Sequential(
            *(ResidualGroup(features, blocks, reduction) for _ in range(groups)), conv3x3(features, features)
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
        return dict(self._settings)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        squeeze = "body.0.body.0.body.3.conv_du.0.weight"
        if any(name not in state for name in ("sub_mean.weight", "head.0.weight", squeeze, "tail.0.0.weight")):
            return None
        squeezed, features = state[squeeze].shape[:2]
        return {
            "scale": upsampler_scale(state, "tail.0"),
            "groups": sequence_length(state, "body") - 1,
            "blocks": sequence_length(state, "body.0.body") - 1,
            "features": features,
            "reduction": features // squeezed,
        }

    def shallow(self, x: Tensor) -> Tensor:
        return self.head(self.sub_mean(self.colour_range * x))

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        return self.add_mean(self.tail(self.body[-1](deep) + shallow)) / self.colour_range
