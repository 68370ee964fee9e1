"""BSRN, the blueprint separable residual network (Li et al., CVPR workshops 2022)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.layers import SQUEEZE, ContrastAttention, SpatialAttention, conv3x3, require_positive

COPIES = 4
DISTILLED = 2
ESA_SQUEEZE = 4


class BlueprintConv(nn.Module):
    """BSConvU: a point-wise convolution, then a depth-wise one of ``size``; (B, inputs, h, w) -> (B, outputs, h', w').

    Source: Haase and Amthor, "Rethinking Depthwise Separable Convolutions", CVPR 2020, the unconstrained variant.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.dw = nn.Conv2d(outputs, outputs, size, stride, padding, groups=outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.dw(self.pw(x))


def blueprint3x3(inputs: int, outputs: int) -> BlueprintConv:
    """A 3x3 blueprint convolution that keeps the size of its map."""
    return BlueprintConv(inputs, outputs, padding=1)


class BlueprintAttention(SpatialAttention):
    """ESA of blueprint convolutions, three of them after the pooling; keeps the shape."""

    def __init__(self, features: int, esa_channels: int) -> None:
        super().__init__(features, esa_channels, BlueprintConv)
        self.conv_max = blueprint3x3(esa_channels, esa_channels)
        self.conv3_ = blueprint3x3(esa_channels, esa_channels)

    def refine(self, pooled: Tensor) -> Tensor:
        return self.conv3_(F.gelu(self.conv3(F.gelu(self.conv_max(pooled)))))


class SeparableDistillation(nn.Module):
    """ESDB: every step distils half the channels and refines all; (B, features, h, w) -> the same shape."""

    def __init__(self, features: int) -> None:
        super().__init__()
        kept = features // DISTILLED
        self.c1_d = nn.Conv2d(features, kept, 1)
        self.c1_r = blueprint3x3(features, features)
        self.c2_d = nn.Conv2d(features, kept, 1)
        self.c2_r = blueprint3x3(features, features)
        self.c3_d = nn.Conv2d(features, kept, 1)
        self.c3_r = blueprint3x3(features, features)
        self.c4 = blueprint3x3(features, kept)
        self.c5 = nn.Conv2d(4 * kept, features, 1)
        self.esa = BlueprintAttention(features, features // ESA_SQUEEZE)
        self.cca = ContrastAttention(features)

    def forward(self, x: Tensor) -> Tensor:
        distilled = []
        refined = x
        for distil, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            distilled.append(F.gelu(distil(refined)))
            refined = F.gelu(refine(refined) + refined)
        distilled.append(F.gelu(self.c4(refined)))
        return x + self.cca(self.esa(self.c5(torch.cat(distilled, dim=1))))


class BSRN(Network):
    """BSRN with the published width and depth by default: 64 features, 8 blocks.

    The deep features are the fusion of all block outputs, so ``reconstruct`` takes the usual (B, features, h, w).
    The parameters carry the names of the published weights, so those load with ``strict=True``.
    Raises HkdsrError for a scale other than 2, 3 or 4, no blocks, or fewer than 16 features.

    Source: Li et al., "Blueprint Separable Residual Network for Efficient Image Super-Resolution", CVPR workshops 2022.
    """

    family = "bsrn"
    joins_blocks = True

    def __init__(self, scale: int, features: int = 64, blocks: int = 8) -> None:
        super().__init__(scale)
        require_positive({"blocks": blocks})
        if features < SQUEEZE:
            raise HkdsrError(f"features is {features}: set it to {SQUEEZE} or more")
        self.features = features
        self.block_names = tuple(f"B{number}" for number in range(1, blocks + 1))
        self.fea_conv = blueprint3x3(COPIES * 3, features)
        for name in self.block_names:
            self.add_module(name, SeparableDistillation(features))
        self.c1 = nn.Conv2d(blocks * features, features, 1)
        self.c2 = blueprint3x3(features, features)
        to_image = nn.Sequential(conv3x3(features, 3 * scale**2), nn.PixelShuffle(scale))
        self.upsampler = nn.Sequential(OrderedDict(upsampleOneStep=to_image))

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
            not {"fea_conv.pw.weight", "B1.esa.conv_max.pw.weight", "upsampler.upsampleOneStep.0.weight"}
            <= state.keys()
        ):
            return None
        return {
            "scale": isqrt(state["upsampler.upsampleOneStep.0.weight"].shape[0] // 3),
            "features": state["fea_conv.pw.weight"].shape[0],
            "blocks": sum(name.endswith(".c5.weight") for name in state),
        }

    def shallow(self, x: Tensor) -> Tensor:
        return self.fea_conv(x.repeat(1, COPIES, 1, 1))

    def run_trunk(self, shallow: Tensor, keep: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        _, outputs = super().run_trunk(shallow, range(len(self.blocks)))
        fused = F.gelu(self.c1(torch.cat([outputs[index] for index in range(len(outputs))], dim=1)))
        return fused, {index: outputs[index] for index in keep}

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        return self.upsampler(self.c2(deep) + shallow)
