"""Intermediate super-resolution outputs ("exits"): heads that turn the features of early blocks into images.

Stage 1 of HKDSR gives them to the teacher, stage 2 trains the student with its own; they are dropped for deployment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.data import imresize
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network, Traced, in_full_precision, pad_to_multiple
from hkdsr.settings.choices import HeadKind, HeadStart, HeadTail


@dataclass(frozen=True)
class Outputs:
    """What a network gives for a batch (B, 3, h, w).

    ``final`` and ``exits``: images, each (B, 3, scale*h, scale*w) in [0, 1]. ``features``: block outputs at the
    depths a method asked for, each (B, C, h, w); widths differ between networks, h and w do not.
    """

    final: Tensor
    exits: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()


class ExitHead(nn.Module):
    """One separate head (design H1): C(features) + shallow features -> upsampler -> RGB.

    Args:
        channels: of the features.
        scale: 2, 3 or 4.
        tail: ``upsampler`` convolutions to 4 (or 9) times the channels with pixel shuffles, then RGB at full size, as
            in the paper; ``shuffle`` one convolution to 3 * scale^2 channels and a pixel shuffle, far cheaper.
        start: ``bicubic`` adds the bicubically enlarged input and starts its last convolution at zero, so that the
            exit begins as bicubic; ``plain`` as the paper: nothing added, default initialisation.
    """

    def __init__(self, channels: int, scale: int, tail: HeadTail, start: HeadStart) -> None:
        super().__init__()
        self.scale, self.start = scale, start
        self.body = nn.Conv2d(channels, channels, 3, padding=1)
        layers: list[nn.Module] = []
        if tail == "upsampler":
            for factor in [3] if scale == 3 else [2] * (scale // 2):
                layers += [nn.Conv2d(channels, channels * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
            last = nn.Conv2d(channels, 3, 3, padding=1)
            layers.append(last)
        else:
            last = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
            layers += [last, nn.PixelShuffle(scale)]
        self.tail = nn.Sequential(*layers)
        if start == "bicubic":
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)

    def forward(self, features: Tensor, shallow: Tensor, base: Tensor) -> Tensor:
        """Features and shallow features (B, C, h, w), bicubic image (B, 3, scale*h, scale*w) -> image."""
        image = self.tail(self.body(features) + shallow)
        return image + base if self.start == "bicubic" else image


class Exits(nn.Module):
    """A network's exits at relative ``depths`` (each in (0, 1), below the last block).

    Args:
        kind: ``separate`` own heads (H1); ``shared`` the network's own tail (H2); ``teacher_tail`` the frozen tail of
            ``tail_of`` (H3), which must have the student's width.

    Raises:
        HkdsrError: a depth lies on the last block, whose exit would be the final output counted twice; depths fall on
            the same block; the kind does not suit the networks, of which opaque ones cannot lend their tail.
    """

    def __init__(
        self,
        network: Network,
        depths: Sequence[float],
        kind: HeadKind = "separate",
        tail: HeadTail = "auto",
        start: HeadStart = "auto",
        tail_of: Network | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.pad_multiple = network.pad_multiple
        self.taps = exit_taps(network, depths)
        self.heads = nn.ModuleList()
        # In a tuple, so that a borrowed frozen tail is neither trained nor saved with the student.
        self._tail_of = (_tail_owner(network, kind, tail_of),)
        if kind == "separate":
            if tail == "auto":
                tail = "upsampler" if network.has_upsampler else "shuffle"
            begin: HeadStart = "bicubic" if start == "auto" else start
            self.heads.extend(ExitHead(network.channels, network.scale, tail, begin) for _ in self.taps)

    def forward(self, x: Tensor, traced: Traced, scale: int) -> tuple[Tensor, ...]:
        """The exits' images for input (B, 3, h, w), from a trace that kept ``self.taps``."""
        if self.kind == "separate":
            base = enlarge(x, scale)
            padded = _pad_like(base, traced.shallow, scale)
            images = [
                in_full_precision(head, features, traced.shallow, padded)
                for head, features in zip(self.heads, traced.taps, strict=True)
            ]
        else:
            (owner,) = self._tail_of
            assert owner is not None
            if self.kind == "teacher_tail":
                owner.to(x.device)  # borrowed, so it does not move with this module
            padded = pad_to_multiple(x, self.pad_multiple)
            images = [in_full_precision(owner.reconstruct, f, traced.shallow, padded) for f in traced.taps]
        return tuple(p[..., : scale * x.shape[-2], : scale * x.shape[-1]] for p in images)


class NetworkWithExits(nn.Module):
    """A network and its exits in one forward pass."""

    def __init__(self, network: Network, exits: Exits) -> None:
        super().__init__()
        self.network, self.exits = network, exits

    def forward(self, x: Tensor) -> Outputs:
        """LR (B, 3, h, w) in [0, 1] -> final image and exits, unclamped."""
        traced = self.network.trace(x, self.exits.taps)
        return Outputs(traced.sr, self.exits(x, traced, self.network.scale))


def exit_taps(network: Network, depths: Sequence[float]) -> tuple[int, ...]:
    """Block indices of relative depths; see ``Exits`` for the errors."""
    taps = tuple(network.tap_index(depth) for depth in depths)
    if len(network.blocks) - 1 in taps:
        raise HkdsrError(
            f"exits {tuple(depths)} put one on the last of {len(network.blocks)} blocks of {network.family}, which is "
            "the final output: set depths below that"
        )
    if len(set(taps)) < len(taps):
        raise HkdsrError(
            f"exits {tuple(depths)} fall on the same block of {network.family}, which has {len(network.blocks)}: "
            "set fewer exits or a deeper network"
        )
    return taps


def enlarge(x: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement of (B, 3, h, w), without gradient: the base that exits correct."""
    with torch.no_grad():
        return imresize(x, float(scale))


def _pad_like(base: Tensor, features: Tensor, scale: int) -> Tensor:
    bottom = scale * features.shape[-2] - base.shape[-2]
    right = scale * features.shape[-1] - base.shape[-1]
    return F.pad(base, (0, right, 0, bottom), mode="replicate") if bottom or right else base


def _tail_owner(network: Network, kind: HeadKind, tail_of: Network | None) -> Network | None:
    if kind == "separate":
        return None
    owner = network if kind == "shared" else tail_of
    if owner is None:
        raise HkdsrError("exits.kind is 'teacher_tail' but there is no teacher: set exits.kind to 'separate'")
    if not owner.runs_in_parts:
        raise HkdsrError(
            f"exits.kind is '{kind}' but {owner.family} networks run only as a whole: set it to 'separate'"
        )
    if owner.channels != network.channels:
        raise HkdsrError(
            f"exits.kind is 'teacher_tail' but the teacher has {owner.channels} channels and the student "
            f"{network.channels}: set exits.kind to 'separate' or make the widths equal"
        )
    return owner
