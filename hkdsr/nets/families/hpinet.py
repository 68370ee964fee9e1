"""HPINet: attention within overlapping patches of growing size, each helped by its likest (Liu et al., AAAI 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.nets.base import Network
from hkdsr.nets.families.hpinet_attention import Match, PatchTransformer
from hkdsr.nets.families.layers import conv3x3, require_positive, sequence_length

# One after the other from block to block, then from the smallest again.
PATCH_SIZES = (12, 16, 20, 24)
OVERLAP = 2
NEGATIVE_SLOPE = 0.1


def patch_positions(size: int, patch: int, device: torch.device | None = None) -> Tensor:
    """Pixels (patches, patch) int64 that the patches cover along an axis of ``size`` >= ``patch`` pixels.

    Neighbours share OVERLAP pixels; the last patch ends at the edge and may share more.
    """
    step = patch - OVERLAP
    starts = torch.arange(0, size - OVERLAP, step, device=device).clamp(max=size - patch)
    return starts[:, None] + torch.arange(patch, device=device)


def divide(x: Tensor, patch: int) -> Tensor:
    """Features (B, C, h, w) -> the tokens (B, patches, patch * patch, C) of all patches, row by row."""
    rows, columns = (patch_positions(size, patch, x.device) for size in x.shape[-2:])
    patches = x.permute(0, 2, 3, 1)[:, rows][:, :, :, columns]
    return patches.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def merge(tokens: Tensor, patch: int, h: int, w: int) -> Tensor:
    """Undo ``divide``: tokens (B, patches, patch * patch, C) -> features (B, C, h, w), means where patches overlap."""
    rows, columns = (patch_positions(size, patch, tokens.device) for size in (h, w))
    patches = tokens.unflatten(2, (patch, patch)).unflatten(1, (len(rows), len(columns)))
    lines = _average(patches.transpose(2, 3).flatten(3, 4).flatten(1, 2), 1, rows.flatten(), h)
    return _average(lines, 2, columns.flatten(), w).permute(0, 3, 1, 2)


def _average(x: Tensor, axis: int, positions: Tensor, size: int) -> Tensor:
    patches = x.new_zeros(size).index_add(0, positions, x.new_ones(len(positions)))
    total = x.new_zeros(*x.shape[:axis], size, *x.shape[axis + 1 :]).index_add(axis, positions, x)
    return total / patches.view(-1, *[1] * (x.ndim - axis - 1))


class PatchBlock(nn.Module):
    """Divide into patches, match, attend, merge, convolve: (B, dim, h, w) -> the same shape, any h and w.

    Features smaller than a patch are padded by reflection (replication where that cannot reach) and cropped again.
    """

    def __init__(self, patch: int, match: Match, transformer: PatchTransformer, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.patch = patch
        self.match = match
        self.transformer = transformer
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        padded = _pad_to_patch(x, self.patch)
        tokens = divide(padded, self.patch)
        refined = self.transformer(tokens.flatten(0, 1), self.match(tokens).flatten(0, 1))
        merged = merge(refined.view_as(tokens), self.patch, *padded.shape[-2:])
        return x + self.convolution(merged[..., :h, :w])


def _pad_to_patch(x: Tensor, patch: int) -> Tensor:
    h, w = x.shape[-2:]
    bottom, right = max(patch - h, 0), max(patch - w, 0)
    if not (bottom or right):
        return x
    return F.pad(x, (0, right, 0, bottom), mode="reflect" if bottom < h and right < w else "replicate")


class HPINet(Network):
    """HPINet-M with its defaults; HPINet-S with ``dim=40, qk_dim=24, mlp_dim=72``.

    ``dim`` is the number of features, ``blocks`` that of trunk blocks with ``layers`` transformer layers each,
    ``qk_dim`` the width of queries and keys, ``mlp_dim`` that of the feed-forward. The parameters carry the names of
    the published weights, so those load with ``strict=True``. In training the matched patches are drawn at random (see
    ``Match``). Raises HkdsrError for a scale other than 2, 3 or 4 or another number below 1.

    Source: Liu et al., "From Coarse to Fine: Hierarchical Pixel Integration for Lightweight Image Super-Resolution",
    AAAI 2023, and the order of layers in https://github.com/passerer/HPINet. That code differs in two corners: where
    three patches meet on an axis, which a few sizes bring about, it divides their sum by four, here by three; and for
    a batch it takes every matched patch from the first image, here from the patch's own.
    """

    family = "hpinet"

    def __init__(
        self, scale: int, dim: int = 56, blocks: int = 8, layers: int = 3, qk_dim: int = 32, mlp_dim: int = 100
    ) -> None:
        super().__init__(scale)
        require_positive({"dim": dim, "blocks": blocks, "layers": layers, "qk_dim": qk_dim, "mlp_dim": mlp_dim})
        self.dim, self.layers, self.qk_dim, self.mlp_dim = dim, layers, qk_dim, mlp_dim
        self.first_conv = conv3x3(3, dim)
        matches = [Match(dim) for _ in range(blocks)]
        transformers = [PatchTransformer(dim, layers, qk_dim, mlp_dim) for _ in range(blocks)]
        convolutions = [conv3x3(dim, dim) for _ in range(blocks)]
        self.cross_match = nn.ModuleList(matches)
        # The published name is also that of the read-only property below, which forbids plain assignment.
        self.add_module("blocks", nn.ModuleList(transformers))
        self.mid_convs = nn.ModuleList(convolutions)
        # The lists above own the parameters under their published names; a tuple gives them no second one.
        parts = zip(cycle(PATCH_SIZES), matches, transformers, convolutions, strict=False)
        self.trunk = tuple(PatchBlock(*part) for part in parts)
        self.upconvs = {"upconv1": 2, "upconv2": 2} if scale == 4 else {"upconv": scale}
        for name, factor in self.upconvs.items():
            self.add_module(name, conv3x3(dim, dim * factor**2))
        self.last_conv = conv3x3(dim, 3)

    @property
    def channels(self) -> int:
        return self.dim

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.trunk

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {
            "scale": self.scale,
            "dim": self.dim,
            "blocks": len(self.trunk),
            "layers": self.layers,
            "qk_dim": self.qk_dim,
            "mlp_dim": self.mlp_dim,
        }

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        query, hidden = "blocks.0.layers.0.0.fn.to_q.weight", "blocks.0.layers.0.1.fn.fc1.weight"
        if not {"cross_match.0.norm.weight", "mid_convs.0.weight", query, hidden} <= state.keys():
            return None
        qk_dim, dim = state[query].shape
        return {
            "scale": isqrt(state["upconv.weight"].shape[0] // dim) if "upconv.weight" in state else 4,
            "dim": dim,
            "blocks": sequence_length(state, "mid_convs"),
            "layers": sequence_length(state, "blocks.0.layers"),
            "qk_dim": qk_dim,
            "mlp_dim": state[hidden].shape[0],
        }

    def shallow(self, x: Tensor) -> Tensor:
        return self.first_conv(x)

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        for name, factor in self.upconvs.items():
            deep = F.leaky_relu(F.pixel_shuffle(self.get_submodule(name)(deep), factor), NEGATIVE_SLOPE)
        return self.last_conv(deep) + F.interpolate(x, scale_factor=self.scale, mode="bilinear")
