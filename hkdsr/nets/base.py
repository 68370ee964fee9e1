"""What every super-resolution network here offers: its scale, a trunk that can be tapped, and an image in [0, 1].

A network is three steps: ``shallow`` lifts the image to features, the trunk's blocks refine them one after the other,
``reconstruct`` turns the deep features into the image. Distillation needs nothing else: taps are block outputs,
addressed by relative depth so that a teacher of 20 blocks lines up with a student of 6.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError


@dataclass(frozen=True)
class Traced:
    """A forward pass with its taps.

    ``sr`` is the image (B, 3, scale*h, scale*w); ``shallow`` the shallow features and ``taps`` the asked-for block
    outputs, each (B, C, h', w') where h', w' is the LR size after padding to ``pad_multiple``.
    """

    sr: Tensor
    shallow: Tensor
    taps: tuple[Tensor, ...]


class Network(nn.Module, ABC):
    """A super-resolution network: RGB (B, 3, h, w) in [0, 1] in, (B, 3, scale*h, scale*w) out, unclamped.

    The input is never changed. Networks whose published weights work in other units (EDSR and RLFN: 0..255) convert
    inside; ``colour_range`` records those units. Sizes that are not a multiple of ``pad_multiple`` are padded inside by
    reflection and cropped from the result.
    """

    family: ClassVar[str]
    colour_range: ClassVar[float] = 1.0
    pad_multiple: ClassVar[int] = 1
    trainable: ClassVar[bool] = True
    """Whether it can be trained and saved, which takes a family of this package."""
    runs_in_parts: ClassVar[bool] = True
    """Whether ``shallow``, ``blocks`` and ``reconstruct`` can be called one by one."""
    runs_in_pytorch: ClassVar[bool] = True
    """Whether its layers are modules, which can be counted, copied and exported."""
    joins_blocks: ClassVar[bool] = False
    """Whether the image is made from the outputs of all blocks instead of the last one's alone."""
    has_upsampler: ClassVar[bool] = False
    """Whether features are enlarged by convolutions before the image is made, which its exits then do too."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        if scale not in (2, 3, 4):
            raise HkdsrError(f"scale is {scale}: set it to 2, 3 or 4")
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
        """Modules of equal cost that together are nearly all of the network; each takes features or images first.

        Whoever counts passes through a network counts the calls of these.
        """
        return self.blocks

    @property
    @abstractmethod
    def settings(self) -> dict[str, int | float | str]:
        """The constructor's arguments, so that a checkpoint can rebuild the network."""

    @classmethod
    @abstractmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        """Constructor arguments read off the names and shapes of a state dict; None if it is another family's."""

    @abstractmethod
    def shallow(self, x: Tensor) -> Tensor:
        """ImageData (B, 3, h, w) in [0, 1], already padded -> shallow features (B, channels, h, w)."""

    @abstractmethod
    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        """Deep and shallow features and the padded image -> image (B, 3, scale*h, scale*w) in [0, 1] units."""

    def run_trunk(self, shallow: Tensor, keep: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Run every block; return what ``reconstruct`` takes and the outputs of the blocks in ``keep``."""
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
        """The block whose output lies at relative ``depth`` in (0, 1]: 1.0 is the last block.

        Raises HkdsrError outside that range.
        """
        if not 0.0 < depth <= 1.0:
            raise HkdsrError(f"tap depth is {depth}: a relative depth lies above 0 and at most at 1")
        return max(round(depth * len(self.blocks)), 1) - 1


def in_full_precision(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``function`` of the tensors without autocast, for what ends in an image: bf16 rounds one to 1/256 of its value.

    Without autocast it is called as it is, so that float64 and half-precision networks stay what they are.
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
    """Number of trainable and frozen parameters; buffers (fixed colour shifts) are not counted."""
    return sum(p.numel() for p in module.parameters())
