"""SMFANet and SMFANet+: fast convolutional networks with a cheap global branch (Zheng et al., ECCV 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.gathers import adaptive_max_pool, enlarge_nearest
from hkdsr.nets.families.layers import conv3x3, require_positive, sequence_length

LDE_GROWTH = 2
PARTIAL = 4
DOWN = 8


class LocalDetail(nn.Module):
    """LDE: a depth-wise 3x3 convolution and two 1x1 ones; (B, dim, h, w) -> the same shape."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim * LDE_GROWTH
        self.conv_0 = nn.Sequential(nn.Conv2d(dim, hidden, 3, padding=1, groups=dim), nn.Conv2d(hidden, hidden, 1))
        self.conv_1 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_1(F.gelu(self.conv_0(x)))


class SelfModulation(nn.Module):
    """SMFA: local details plus features times a coarse, non-local summary of them (EASA in the paper)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear_0 = nn.Conv2d(dim, 2 * dim, 1)
        self.linear_1 = nn.Conv2d(dim, dim, 1)
        self.linear_2 = nn.Conv2d(dim, dim, 1)
        self.lde = LocalDetail(dim)
        self.dw_conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.alpha = nn.Parameter(torch.ones(1, dim, 1, 1))
        self.belt = nn.Parameter(torch.zeros(1, dim, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        local, x = self.linear_0(features).chunk(2, dim=1)
        h, w = x.shape[-2:]
        exporting = torch.compiler.is_exporting()
        pool, enlarge = (adaptive_max_pool, enlarge_nearest) if exporting else (_pool, _enlarge)
        coarse = self.dw_conv(pool(x, max(h // DOWN, 1), max(w // DOWN, 1)))
        # The unbiased variance, but 0 for a single pixel; torch.var is much slower on a CPU.
        deviation = x - x.mean(dim=(-2, -1), keepdim=True)
        variance = deviation.square().mean(dim=(-2, -1), keepdim=True) * (h * w / max(h * w - 1, 1))
        gate = F.gelu(self.linear_1(coarse * self.alpha + variance * self.belt))
        return self.linear_2(x * enlarge(gate, h, w) + self.lde(local))


def _pool(x: Tensor, height: int, width: int) -> Tensor:
    return F.adaptive_max_pool2d(x, (height, width))


def _enlarge(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="nearest")


class PartialFeedForward(nn.Module):
    """PCFN: a feed-forward of 1x1 convolutions with a 3x3 one on the first quarter of the hidden channels."""

    def __init__(self, dim: int, ffn_scale: float) -> None:
        super().__init__()
        hidden = round(dim * ffn_scale)
        self.partial = hidden // PARTIAL
        self.conv_0 = nn.Conv2d(dim, hidden, 1)
        self.conv_1 = conv3x3(self.partial, self.partial)
        self.conv_2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.conv_0(x))
        mixed = F.gelu(self.conv_1(hidden[:, : self.partial]))
        return self.conv_2(torch.cat((mixed, hidden[:, self.partial :]), dim=1))


class FeatureModulationBlock(nn.Module):
    """FMB: SMFA and PCFN on features normalised over the channels; (B, dim, h, w) -> the same shape."""

    def __init__(self, dim: int, ffn_scale: float) -> None:
        super().__init__()
        self.smfa = SelfModulation(dim)
        self.pcfn = PartialFeedForward(dim, ffn_scale)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.smfa(F.normalize(x))
        return x + self.pcfn(F.normalize(x))


class SMFANet(Network):
    """SMFANet+ with its defaults; SMFANet with ``dim=36, blocks=8``.

    ``dim`` is the number of features; the feed-forward has ``ffn_scale`` times as many hidden channels. The parameters
    have the names of the published weights, which load with ``strict=True``. Raises HkdsrError for a scale other than
    2, 3 or 4, no blocks, or a feed-forward of fewer than 4 hidden channels.

    Source: Zheng et al., "SMFANet: A Lightweight Self-Modulation Feature Aggregation Network for Efficient Image
    Super-Resolution", ECCV 2024.
    """

    family = "smfanet"

    def __init__(self, scale: int, dim: int = 48, blocks: int = 12, ffn_scale: float = 2.0) -> None:
        super().__init__(scale)
        require_positive({"dim": dim, "blocks": blocks})
        if round(dim * ffn_scale) < PARTIAL:
            raise HkdsrError(f"ffn_scale is {ffn_scale}: set it to {PARTIAL} / dim or more")
        self.dim = dim
        self.ffn_scale = ffn_scale
        self.to_feat = conv3x3(3, dim)
        self.feats = nn.Sequential(*(FeatureModulationBlock(dim, ffn_scale) for _ in range(blocks)))
        self.to_img = nn.Sequential(conv3x3(dim, 3 * scale**2), nn.PixelShuffle(scale))

    @property
    def channels(self) -> int:
        return self.dim

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return tuple(self.feats)

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {"scale": self.scale, "dim": self.dim, "blocks": len(self.feats), "ffn_scale": self.ffn_scale}

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        if not {"to_feat.weight", "to_img.0.weight", "feats.0.smfa.belt", "feats.0.pcfn.conv_0.weight"} <= state.keys():
            return None
        dim = state["to_feat.weight"].shape[0]
        return {
            "scale": isqrt(state["to_img.0.weight"].shape[0] // 3),
            "dim": dim,
            "blocks": sequence_length(state, "feats"),
            "ffn_scale": state["feats.0.pcfn.conv_0.weight"].shape[0] / dim,
        }

    def shallow(self, x: Tensor) -> Tensor:
        return self.to_feat(x)

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        return self.to_img(deep + shallow)
