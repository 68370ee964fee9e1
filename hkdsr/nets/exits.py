"""Exits: intermediate SR outputs, made by heads from the features of early blocks.

Stage 1 of HKDSR trains the exits of the teacher, stage 2 the student with its own; deployed networks have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.data import imresize
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network, Traced, in_full_precision, pad_to_multiple
from hkdsr.nets.feature_images import FeatureImages
from hkdsr.settings.choices import HeadKind, HeadStart, HeadTail


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network for a batch (B, 3, h, w).

    ``final`` and ``exits`` are SR images (B, 3, scale*h, scale*w) with values around [0, 1]. ``features`` are the block
    outputs (B, C, h, w) at the depths that a method uses; C differs between networks. Of stored features they are
    coordinates or images (see ``hkdsr.nets.feature_images``).
    """

    final: Tensor
    exits: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()


class ExitHead(nn.Module):
    """A separate head: conv(features) + shallow features -> tail -> RGB.

    Args:
        channels: number of channels of the features.
        scale: 2, 3 or 4.
        tail: ``upsampler``, as in the paper: convolutions to 4 (or 9) times the channels with pixel shuffles, then one
            to RGB at HR size; ``shuffle``: one convolution to 3 * scale^2 channels and a pixel shuffle, much cheaper.
        start: ``bicubic`` adds the bicubically upscaled input and initialises the last convolution with zeros, so that
            the exit starts as bicubic; ``solved`` does so too, and its first convolution starts as the identity, so
            that ``hkdsr.nets.start.heads`` can solve the last one; ``plain``, as in the paper, adds nothing and uses
            the default initialisation.
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
        if start == "solved":
            nn.init.dirac_(self.body.weight)
            assert self.body.bias is not None
            nn.init.zeros_(self.body.bias)
        if start != "plain":
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)

    @property
    def last(self) -> nn.Conv2d:
        """The convolution that gives the image, at HR size or, before a pixel shuffle, at LR size."""
        return next(layer for layer in reversed(self.tail) if isinstance(layer, nn.Conv2d))

    def forward(self, features: Tensor, shallow: Tensor, base: Tensor) -> Tensor:
        """Features, shallow features (B, C, h, w) and bicubic image (B, 3, scale*h, scale*w) -> SR image."""
        image = self.tail(self.body(features) + shallow)
        return image if self.start == "plain" else image + base


class Exits(nn.Module):
    """A network's exits at relative ``depths`` (each in (0, 1), below the last block).

    Args:
        kind: ``separate`` heads of their own; ``shared`` the network's own tail; ``teacher_tail`` the frozen tail of
            ``tail_of``, which must have the student's width.

    Raises:
        HkdsrError: a depth belongs to the last block, whose exit would be the final output; two depths belong to the
            same block; the kind does not suit the networks (the tail of an opaque network cannot be run alone).
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
        # In a tuple, which hides it from PyTorch: the teacher's frozen tail is neither trained nor saved here.
        self._tail_of = (_tail_owner(network, kind, tail_of),)
        if kind == "separate":
            if tail == "auto":
                tail = network.exit_tail
            start = "bicubic" if start == "auto" else start
            self.heads.extend(ExitHead(network.channels, network.scale, tail, start) for _ in self.taps)

    def base(self, x: Tensor, scale: int) -> Tensor | None:
        """The bicubic enlargement of ``x`` (B, 3, h, w), which heads of their own correct; None for other kinds."""
        return enlarge(x, scale) if self.kind == "separate" else None

    def forward(self, x: Tensor, traced: Traced, scale: int, base: Tensor | None = None) -> tuple[Tensor, ...]:
        """SR images of the exits for ``x`` (B, 3, h, w), from a trace with the taps ``self.taps``.

        ``base`` is what ``base`` gives for ``x``, where it has been made before.
        """
        if self.kind == "separate":
            base = enlarge(x, scale) if base is None else base
            padded = _pad_like(base, traced.shallow, scale)
            images = [
                in_full_precision(head, features, traced.shallow, padded)
                for head, features in zip(self.heads, traced.taps, strict=True)
            ]
        else:
            (owner,) = self._tail_of
            assert owner is not None
            if self.kind == "teacher_tail":
                owner.to(x.device)  # it is no submodule, so it does not move with this module
            padded = pad_to_multiple(x, self.pad_multiple)
            images = [in_full_precision(owner.reconstruct, f, traced.shallow, padded) for f in traced.taps]
        return tuple(p[..., : scale * x.shape[-2], : scale * x.shape[-1]] for p in images)


class NetworkWithExits(nn.Module):
    """A network and its exits in one forward pass, with images of its features where ``features`` makes them."""

    def __init__(self, network: Network, exits: Exits, features: FeatureImages | None = None) -> None:
        super().__init__()
        self.network, self.exits, self.features = network, exits, features

    def forward(self, x: Tensor) -> Outputs:
        """LR (B, 3, h, w) in [0, 1] -> final image and exits, not clamped; its features are those images."""
        own, others = self.exits.taps, self.features.taps if self.features else ()
        traced = self.network.trace(x, (*own, *others))
        height, width = x.shape[-2:]
        kept = [tap[..., :height, :width] for tap in traced.taps[len(own) :]]
        images = self.exits(x, replace(traced, taps=traced.taps[: len(own)]), self.network.scale)
        return Outputs(traced.sr, images, self.features(kept) if self.features else ())


def exit_taps(network: Network, depths: Sequence[float]) -> tuple[int, ...]:
    """Block indices of relative depths. Raises HkdsrError as ``Exits`` does."""
    taps = tuple(network.tap_index(depth) for depth in depths)
    if len(network.blocks) - 1 in taps:
        raise HkdsrError(
            f"an exit of {tuple(depths)} is at the last of {len(network.blocks)} blocks of {network.family}, which "
            "gives the final output: set smaller depths"
        )
    if len(set(taps)) < len(taps):
        raise HkdsrError(
            f"exits {tuple(depths)} fall on the same block of {network.family}, which has {len(network.blocks)} "
            "blocks: set fewer exits or choose a network with more blocks"
        )
    return taps


def enlarge(x: Tensor, scale: int) -> Tensor:
    """Upscale (B, 3, h, w) by bicubic interpolation, without gradient."""
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
            f"{network.channels}: set exits.kind to 'separate' or give both the same number of channels"
        )
    return owner
