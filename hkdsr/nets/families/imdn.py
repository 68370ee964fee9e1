"""IMDN, the information multi-distillation network (Hui et al., ACM MM 2019)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.layers import SQUEEZE, ContrastAttention, conv3x3, require_positive

SLOPE = 0.05
DISTILLED = 4


class MultiDistillation(nn.Module):
    """IMDB: each step keeps a quarter of its channels and refines the rest; (B, features, h, w) -> the same shape."""

    def __init__(self, features: int) -> None:
        super().__init__()
        kept = features // DISTILLED
        self.split = (kept, features - kept)
        self.c1 = conv3x3(features, features)
        self.c2 = conv3x3(features - kept, features)
        self.c3 = conv3x3(features - kept, features)
        self.c4 = conv3x3(features - kept, kept)
        self.cca = ContrastAttention(DISTILLED * kept)
        self.c5 = nn.Conv2d(DISTILLED * kept, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        distilled = []
        rest = x
        for step in (self.c1, self.c2, self.c3):
            kept, rest = F.leaky_relu(step(rest), SLOPE).split(self.split, dim=1)
            distilled.append(kept)
        distilled.append(self.c4(rest))
        return x + self.c5(self.cca(torch.cat(distilled, dim=1)))


class IMDN(Network):
    """IMDN with the published width and depth by default: 64 features, 6 blocks.

    The deep features are the fusion of all block outputs (IIC), so ``reconstruct`` takes the usual
    (B, features, h, w). The parameters carry the names of the published weights, so those load with ``strict=True``.
    Raises HkdsrError for a scale other than 2, 3 or 4, no blocks, or fewer than 16 features.

    Source: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019.
    """

    family = "imdn"
    joins_blocks = True

    def __init__(self, scale: int, features: int = 64, blocks: int = 6) -> None:
        super().__init__(scale)
        require_positive({"blocks": blocks})
        if features < SQUEEZE:
            raise HkdsrError(f"features is {features}: set it to {SQUEEZE} or more")
        self.features = features
        self.block_names = tuple(f"IMDB{number}" for number in range(1, blocks + 1))
        self.fea_conv = conv3x3(3, features)
        for name in self.block_names:
            self.add_module(name, MultiDistillation(features))
        self.c = nn.Sequential(nn.Conv2d(blocks * features, features, 1), nn.LeakyReLU(SLOPE))
        self.LR_conv = conv3x3(features, features)
        self.upsampler = nn.Sequential(conv3x3(features, 3 * scale**2), nn.PixelShuffle(scale))

    @property
    def channels(self) -> int:
        return self.features

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return tuple(self.get_submodule(name) for name in self.block_names)

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {"scale": self.scale, "features": self.features, "blocks": len(self.block_names)}

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        if (
            not {"fea_conv.weight", "IMDB1.cca.conv_du.0.weight", "LR_conv.weight", "upsampler.0.weight"}
            <= state.keys()
        ):
            return None
        return {
            "scale": isqrt(state["upsampler.0.weight"].shape[0] // 3),
            "features": state["fea_conv.weight"].shape[0],
            "blocks": sum(name.endswith(".c5.weight") for name in state),
        }

    def shallow(self, x: Tensor) -> Tensor:
        return self.fea_conv(x)

    def run_trunk(self, shallow: Tensor, keep: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        _, outputs = super().run_trunk(shallow, range(len(self.blocks)))
        fused = self.c(torch.cat([outputs[index] for index in range(len(outputs))], dim=1))
        return fused, {index: outputs[index] for index in keep}

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        return self.upsampler(self.LR_conv(deep) + shallow)
