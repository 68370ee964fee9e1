"""HiT-SRF: transformer layers whose windows grow from 4x4 to 64x64 in every residual group.

Zhang et al., "HiT-SR: Hierarchical Transformer for Efficient Image Super-Resolution", ECCV 2024, the variant made from
SRFormer; order of layers as in https://github.com/XiangZ-0/HiT-SR. Parameter names are those of the authors' released
files, which therefore load strictly. Dropout and stochastic depth, training-only devices, are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.hitsrf_attention import BASE_WINDOW, POSITION_REDUCTION, Correlation, mirror_to_multiple
from hkdsr.nets.families.layers import DIV2K_MEAN, conv3x3, require_positive, sequence_length
from hkdsr.nets.families.swinir import PatchEmbed

# 0.5, 1, 2, 4, 6 and 8 times the base window of 8x8, one after the other in each group.
WINDOWS = (4, 8, 16, 32, 48, 64)


class DepthwiseConvolution(nn.Module):
    """A 5x5 convolution of each channel by itself, then GELU, on (B, H, W, C)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.depthwise_conv = nn.Sequential(nn.Conv2d(features, features, 5, padding=2, groups=features), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return self.depthwise_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ConvolutionalMLP(nn.Module):
    """SRFormer's feed-forward: two linear layers that see a neighbourhood through a depthwise convolution between."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.dwconv = DepthwiseConvolution(hidden)
        self.fc2 = nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.fc1(x))
        return self.fc2(x + self.dwconv(x))


class HierarchicalLayer(nn.Module):
    """One transformer layer on (B, H, W, C) of any size; mirrors its input to whole windows for the correlation."""

    def __init__(self, features: int, heads: int, mlp_dim: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(features)
        self.correlation = Correlation(features, heads, window)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = ConvolutionalMLP(features, mlp_dim)

    def forward(self, x: Tensor) -> Tensor:
        related = self.correlation(mirror_to_multiple(x, self.correlation.window))
        x = x + self.norm1(related[:, : x.shape[1], : x.shape[2]])
        return x + self.norm2(self.mlp(x))


class HierarchicalLayers(nn.Module):
    """A transformer layer for each of the first ``blocks`` windows in a row on (B, H, W, C)."""

    def __init__(self, features: int, blocks: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(HierarchicalLayer(features, heads, mlp_dim, size) for size in WINDOWS[:blocks])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class HierarchicalGroup(nn.Module):
    """The residual hierarchical transformer block (RHTB): layers, a convolution and a skip on (B, C, H, W)."""

    def __init__(self, features: int, blocks: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.residual_group = HierarchicalLayers(features, blocks, heads, mlp_dim)
        self.conv = conv3x3(features, features)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.residual_group(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class HiTSRF(Network):
    """HiT-SRF with ``groups`` residual groups (the taps) of ``blocks`` transformer layers each; the paper's by default.

    ``blocks`` is at most 6, as the layers of a group have windows of 4, 8, 16, 32, 48 and 64 pixels; ``mlp_dim`` is the
    width of the feed-forward. The layers pad for themselves, so the trunk takes any size. Below 32 ``features``
    the networks for the position bias are a single neuron wide, whose layer norm leaves no bias but a constant.

    Raises HkdsrError for a scale other than 2, 3 or 4, another number below 1, more than 6 ``blocks``, fewer than 16
    ``features`` or a number of them that is not a multiple of twice the ``heads``.
    """

    family = "hitsrf"

    mean: Tensor

    def __init__(
        self, scale: int, features: int = 60, groups: int = 4, blocks: int = 6, heads: int = 6, mlp_dim: int = 120
    ) -> None:
        super().__init__(scale)
        self._sizes = {"features": features, "groups": groups, "blocks": blocks, "heads": heads, "mlp_dim": mlp_dim}
        require_positive(self._sizes)
        if blocks > len(WINDOWS):
            raise HkdsrError(f"blocks is {blocks}: set it to {len(WINDOWS)} or less, as each has a window of its own")
        if features < POSITION_REDUCTION:
            raise HkdsrError(f"features is {features}: set it to {POSITION_REDUCTION} or more")
        if features % (2 * heads):
            raise HkdsrError(f"features is {features}: set it to a multiple of {2 * heads}, twice the heads")
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.conv_first = conv3x3(3, features)
        self.patch_embed = PatchEmbed(features)
        self.layers = nn.ModuleList(HierarchicalGroup(features, blocks, heads, mlp_dim) for _ in range(groups))
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = conv3x3(features, features)
        self.upsample = nn.Sequential(conv3x3(features, 3 * scale**2), nn.PixelShuffle(scale))
        self.apply(_initialise)

    @property
    def channels(self) -> int:
        return self._sizes["features"]

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return list(self.layers)

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {"scale": self.scale, **self._sizes}

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        """As in ``Network``; None also for files with other windows, uneven groups or other reconstructions.

        The base window cannot be read off a file; released ones have 8.
        """
        group = "layers.{}.residual_group.blocks"
        area, heads = "correlation.spatial_linear.weight", "correlation.pos.pos3.2.weight"
        hidden = "mlp.dwconv.depthwise_conv.0.weight"
        first = {f"{group.format(0)}.0.{name}" for name in (area, heads, hidden)}
        needed = first | {"conv_first.weight", "conv_after_body.weight", "upsample.0.weight"}
        if not needed <= state.keys() or "conv_last.weight" in state:
            return None
        groups = sequence_length(state, "layers")
        depths = {sequence_length(state, group.format(i)) for i in range(groups)}
        widths = {state[f"{group.format(i)}.0.{heads}"].shape[0] for i in range(groups)}
        areas = [state[f"{group.format(0)}.{i}.{area}"].shape[1] for i in range(min(depths))]
        expected = [max(window // BASE_WINDOW, 1) ** 2 for window in WINDOWS[: len(areas)]]
        if len(depths) > 1 or len(widths) > 1 or areas != expected:
            return None
        return {
            "scale": isqrt(state["upsample.0.weight"].shape[0] // 3),
            "features": state["conv_first.weight"].shape[0],
            "groups": groups,
            "blocks": depths.pop(),
            "heads": widths.pop(),
            "mlp_dim": state[f"{group.format(0)}.0.{hidden}"].shape[0],
        }

    def shallow(self, x: Tensor) -> Tensor:
        return self.conv_first(x - self.mean)

    def run_trunk(self, shallow: Tensor, keep: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        return super().run_trunk(self.patch_embed(shallow), keep)

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        normalised = self.norm(deep.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.upsample(self.conv_after_body(normalised) + shallow) + self.mean


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
