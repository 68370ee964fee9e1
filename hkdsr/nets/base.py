"""The interface of every super-resolution network: its scale, a trunk that can be tapped, images in [0, 1].

A network has three steps: ``shallow`` turns the image into features, the blocks of the trunk refine them one after the
other, ``reconstruct`` turns the deep features into the SR image. Distillation needs no more: a tap is the output of a
block, found by its relative depth, so that a teacher of 20 blocks and a student of 6 are compared at matching places.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.settings.checks import TRAINED_SCALES

SCALES = TRAINED_SCALES
RUN_SCALES = (1, *SCALES, 8)
"""The scales at which networks of other people upscale and are scored; at 1 they restore an image at its own size."""


@dataclass(frozen=True)
class Traced:
    """A forward pass with its taps.

    ``sr`` is the SR image (B, 3, scale*h, scale*w), ``shallow`` the shallow features and ``taps`` the outputs of the
    requested blocks, each (B, C, h', w') where h', w' is the LR size after padding to ``pad_multiple``.
    """

    sr: Tensor
    shallow: Tensor
    taps: tuple[Tensor, ...]


class Network(nn.Module, ABC):
    """A super-resolution network: RGB (B, 3, h, w) in [0, 1] -> (B, 3, scale*h, scale*w), not clamped.

    The input is not changed. Networks whose published weights expect another range (EDSR and RLFN: 0..255) convert
    inside; ``colour_range`` is its upper end. An image whose sides are no multiples of ``pad_multiple`` is padded
    inside by reflection, and the result is cropped.
    """

    family: ClassVar[str]
    scales: ClassVar[tuple[int, ...]] = SCALES
    """The scales that networks of this class may have."""
    colour_range: ClassVar[float] = 1.0
    pad_multiple: int = 1
    trainable: ClassVar[bool] = True
    """Whether it can be trained and saved; only the families of this package can."""
    runs_in_parts: ClassVar[bool] = True
    """Whether ``shallow``, ``blocks`` and ``reconstruct`` can be called one by one."""
    runs_in_pytorch: ClassVar[bool] = True
    """Whether its layers are PyTorch modules, which can be copied, exported and measured."""
    joins_blocks: ClassVar[bool] = False
    """Whether ``reconstruct`` takes a fusion of the outputs of all blocks instead of the output of the last block."""
    exit_tail: ClassVar[Literal["upsampler", "shuffle"]] = "shuffle"
    """Kind of its exits' tails unless ``exits.tail`` names one: like its own tail, or the cheaper ``shuffle``."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        if scale not in self.scales:
            *others, last = self.scales
            raise HkdsrError(f"scale is {scale}: set it to {', '.join(map(str, others))} or {last}")
        self.scale = scale

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the shallow features and of every tap."""

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """The trunk: each block maps features (B, channels, h, w) to the same shape."""

    @property
    def counted(self) -> Sequence[nn.Module]:
        """Modules of equal cost that together hold nearly all of the network, for counting forward passes.

        The first argument of each is a batch of images or features (B, C, h, w).
        """
        return self.blocks

    @property
    @abstractmethod
    def settings(self) -> dict[str, int | float | str]:
        """The arguments of the constructor, from which a checkpoint rebuilds the network."""

    @property
    def identity(self) -> str:
        """A hash of the code of a network whose code is not this package's; else empty."""
        return ""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for the user on what is not in ``settings``."""
        return ()

    def require_learns(self) -> None:
        """Raises HkdsrError if it cannot be trained after all, for code that is not this package's."""
        return

    def deployed(self) -> Network:
        """The network in the form to export: itself, where it has no other form."""
        return self

    @classmethod
    @abstractmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        """The constructor's arguments, read from the names and shapes of a state dict; None for another family."""

    @classmethod
    def own_state(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of a network here from that of a public file, which ``recognise`` has recognised.

        They are the same, but for families that are published in another form. Raises LookupError or RuntimeError for
        weights that are missing or of other shapes.
        """
        return dict(state)

    def public_state(self) -> dict[str, Tensor]:
        """The state dict as public files of the family hold it: what ``own_state`` takes, and other tools load."""
        return self.state_dict()

    @abstractmethod
    def shallow(self, x: Tensor) -> Tensor:
        """Padded LR image (B, 3, h, w) in [0, 1] -> shallow features (B, channels, h, w)."""

    @abstractmethod
    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        """Deep and shallow features (B, channels, h, w) and the padded LR image -> (B, 3, scale*h, scale*w)."""

    def run_trunk(self, shallow: Tensor, keep: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Run every block; return the deep features for ``reconstruct`` and the outputs of the blocks in ``keep``."""
        kept: dict[int, Tensor] = {}
        features = shallow
        for index, block in enumerate(self.blocks):
            features = block(features)
            if index in keep:
                kept[index] = features
        return features, kept

    def trace(self, x: Tensor, taps: Sequence[int]) -> Traced:
        """Run the network and keep the outputs of the blocks whose indices are in ``taps``."""
        padded = pad_to_multiple(x, self.pad_multiple)
        shallow = self.shallow(padded)
        deep, kept = self.run_trunk(shallow, taps)
        sr = in_full_precision(self.reconstruct, deep, shallow, padded)
        sr = sr[..., : self.scale * x.shape[-2], : self.scale * x.shape[-1]]
        return Traced(sr, shallow, tuple(kept[index] for index in taps))

    def forward(self, x: Tensor) -> Tensor:
        return self.trace(x, ()).sr

    def tap_index(self, depth: float) -> int:
        """Index of the block at relative ``depth`` in (0, 1]; 1.0 is the last block.

        Raises HkdsrError outside that range.
        """
        if not 0.0 < depth <= 1.0:
            raise HkdsrError(f"tap depth is {depth}: set it above 0 and at most to 1")
        return max(round(depth * len(self.blocks)), 1) - 1


def in_full_precision(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Call ``function`` on the tensors with autocast off: in bf16 an image would be rounded to 1/256 of its value.

    Outside autocast the tensors are not converted, so that networks in float64 or float16 keep their type.
    """
    kind = tensors[0].device.type
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        return function(*tensors)
    with torch.autocast(kind, enabled=False):
        return function(*(tensor.float() for tensor in tensors))


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, h, w) at the bottom and right by reflection, or by replication where reflection cannot reach."""
    bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    if not (bottom or right):
        return x
    reflects = bottom < x.shape[-2] and right < x.shape[-1]
    return F.pad(x, (0, right, 0, bottom), mode="reflect" if reflects else "replicate")


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, trainable or frozen; buffers (fixed colour shifts) are not counted."""
    return sum(p.numel() for p in module.parameters())
