"""SwinIR: residual groups of shifted-window transformer layers.

Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCV Workshops 2021. Parameter names are those of the
authors' released files (window 8, one convolution per residual connection), which therefore load strictly. Stochastic
depth, a training-only device, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.layers import (
    DIV2K_MEAN,
    Upsampler,
    conv3x3,
    require_positive,
    sequence_length,
    upsampler_scale,
)
from hkdsr.nets.families.window_attention import (
    SHIFT,
    TOKENS,
    WINDOW,
    WindowAttention,
    from_windows,
    shift_masks,
    to_windows,
)

RECONSTRUCTION_FEATURES = 64
UPSAMPLERS = ("pixelshuffle", "pixelshuffledirect")


class MLP(nn.Module):
    """Two linear layers with a GELU between, for each token."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinLayer(nn.Module):
    """One transformer layer (STL) on (B, H, W, C), H and W multiples of 8; every other one shifts its windows by 4."""

    attn_mask: Tensor | None

    def __init__(self, features: int, heads: int, mlp_ratio: float, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(features)
        self.attn = WindowAttention(features, heads)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = MLP(features, int(features * mlp_ratio))
        self.register_buffer("attn_mask", shift_masks() if shift else None)
        self.register_load_state_dict_pre_hook(_keep_own_mask)

    def window_masks(self, rows: int, columns: int) -> Tensor | None:
        """The mask of each window of a map of ``rows`` x ``columns`` windows: (rows * columns, 64, 64)."""
        if self.attn_mask is None:
            return None
        last_row = torch.arange(rows, device=self.attn_mask.device) == rows - 1
        last_column = torch.arange(columns, device=self.attn_mask.device) == columns - 1
        return self.attn_mask[(2 * last_row[:, None] + last_column.int()).flatten()]

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[1] // WINDOW, x.shape[2] // WINDOW
        shifted = self.norm1(x).roll((-self.shift, -self.shift), (1, 2))
        attended = from_windows(self.attn(to_windows(shifted), self.window_masks(rows, columns)), rows)
        x = x + attended.roll((self.shift, self.shift), (1, 2))
        return x + self.mlp(self.norm2(x))


def _keep_own_mask(layer: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    # Published files hold the masks of every window of their training size, and some files none: ours serve any size.
    if isinstance(layer.attn_mask, Tensor):
        state[f"{prefix}attn_mask"] = layer.attn_mask


class SwinLayers(nn.Module):
    """``blocks`` transformer layers in a row on (B, H, W, C)."""

    def __init__(self, features: int, blocks: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SwinLayer(features, heads, mlp_ratio, SHIFT * (i % 2)) for i in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class SwinGroup(nn.Module):
    """The residual Swin Transformer block (RSTB): transformer layers, a convolution and a skip on (B, C, H, W)."""

    def __init__(self, features: int, blocks: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.residual_group = SwinLayers(features, blocks, heads, mlp_ratio)
        self.conv = conv3x3(features, features)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.residual_group(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class PatchEmbed(nn.Module):
    """Normalises each position of (B, C, H, W) over its channels; SwinIR's patches are single positions."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SwinIR(Network):
    """SwinIR with ``groups`` residual groups (the taps) of ``blocks`` transformer layers each.

    ``upsampler`` is "pixelshuffle" (classical models: 64 features on the HR grid) or "pixelshuffledirect" (lightweight
    models: one convolution). The paper's classical model is 180 features, 6x6, 6 heads; its lightweight one 60
    features, 4x6, 6 heads, "pixelshuffledirect".

    Raises HkdsrError for another ``upsampler`` and if ``heads`` does not divide ``features``.
    """

    family = "swinir"
    has_upsampler = True
    pad_multiple = WINDOW

    mean: Tensor

    def __init__(
        self,
        scale: int,
        features: int = 180,
        groups: int = 6,
        blocks: int = 6,
        heads: int = 6,
        mlp_ratio: float = 2.0,
        upsampler: str = "pixelshuffle",
    ) -> None:
        super().__init__(scale)
        require_positive({"features": features, "groups": groups, "blocks": blocks, "heads": heads})
        if features % heads:
            raise HkdsrError(f"heads is {heads}: set it to a divisor of the {features} features")
        if upsampler not in UPSAMPLERS:
            raise HkdsrError(f"upsampler is {upsampler!r}: set it to one of {', '.join(UPSAMPLERS)}")
        self._settings: dict[str, int | float | str] = {
            "scale": scale,
            "features": features,
            "groups": groups,
            "blocks": blocks,
            "heads": heads,
            "mlp_ratio": mlp_ratio,
            "upsampler": upsampler,
        }
        self.features = features
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.conv_first = conv3x3(3, features)
        self.patch_embed = PatchEmbed(features)
        self.layers = nn.ModuleList(SwinGroup(features, blocks, heads, mlp_ratio) for _ in range(groups))
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = conv3x3(features, features)
        if upsampler == "pixelshuffle":
            hidden = RECONSTRUCTION_FEATURES
            self.conv_before_upsample = nn.Sequential(conv3x3(features, hidden), nn.LeakyReLU(inplace=True))
            self.upsample = Upsampler(scale, hidden)
            self.conv_last = conv3x3(hidden, 3)
        else:
            self.conv_before_upsample = nn.Identity()
            self.upsample = nn.Sequential(conv3x3(features, 3 * scale**2), nn.PixelShuffle(scale))
            self.conv_last = nn.Identity()
        self.apply(_initialise)

    @property
    def channels(self) -> int:
        return self.features

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return list(self.layers)

    @property
    def settings(self) -> dict[str, int | float | str]:
        return dict(self._settings)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        """As in ``Network``; None also for SwinIR files with other windows, uneven groups or other reconstructions."""
        group = "layers.{}.residual_group.blocks"
        first = f"{group.format(0)}.0"
        index, table = f"{first}.attn.relative_position_index", f"{first}.attn.relative_position_bias_table"
        needed = ("conv_first.weight", "conv_after_body.weight", "upsample.0.weight", f"{first}.mlp.fc1.weight")
        if any(name not in state for name in (index, table, *needed)) or state[index].shape[0] != TOKENS:
            return None
        groups = sequence_length(state, "layers")
        depths = {sequence_length(state, group.format(i)) for i in range(groups)}
        widths = {state[f"{group.format(i)}.0.attn.relative_position_bias_table"].shape[1] for i in range(groups)}
        if len(depths) > 1 or len(widths) > 1:
            return None
        features = state["conv_first.weight"].shape[0]
        direct = "conv_last.weight" not in state
        scale = math.isqrt(state["upsample.0.weight"].shape[0] // 3) if direct else upsampler_scale(state, "upsample")
        return {
            "scale": scale,
            "features": features,
            "groups": groups,
            "blocks": depths.pop(),
            "heads": widths.pop(),
            "mlp_ratio": state[f"{first}.mlp.fc1.weight"].shape[0] / features,
            "upsampler": "pixelshuffledirect" if direct else "pixelshuffle",
        }

    def shallow(self, x: Tensor) -> Tensor:
        return self.conv_first(x - self.mean)

    def run_trunk(self, shallow: Tensor, keep: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        return super().run_trunk(self.patch_embed(shallow), keep)

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        normalised = self.norm(deep.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        features = self.conv_before_upsample(self.conv_after_body(normalised) + shallow)
        return self.conv_last(self.upsample(features)) + self.mean


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
