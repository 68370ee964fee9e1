"""FileNetwork: what a file computes, as a frozen network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from hkdsr.nets.one_size import OneSize
from hkdsr.nets.probing import OneSizeError
from hkdsr.nets.wrapped import WrappedNetwork


class FileNetwork(WrappedNetwork):
    """A module that was made from a file called ``name``, always in eval mode and without trainable parameters.

    As in ``WrappedNetwork``, what it is is found by running it. One that takes images of one ``size`` (height, width)
    only gets tiles of it; if that is not known, it is found.

    Args:
        module: maps RGB images (B, 3, h, w) to images 2, 3 or 4 times as large.
        content: the bytes of the file or files, by whose hash networks are told apart.
        told: what the file tells of itself, for ``settings``.
        colour_range, pad_multiple, output: as in ``hkdsr.wrap``.
    """

    trainable = False
    takes_grey = False
    without_taps = "runs only as a whole"
    kind: ClassVar[str]
    """Of the file, for messages: ``ONNX``."""

    def __init__(
        self,
        module: nn.Module,
        name: str,
        content: bytes,
        told: Mapping[str, str],
        *,
        size: tuple[int, int] | None = None,
        colour_range: float | None = None,
        pad_multiple: int | None = None,
        output: int | None = None,
    ) -> None:
        settings: dict[str, int | float | str] = {"architecture": self.kind, **told}
        how = (name, hashlib.sha256(content).digest(), settings, colour_range, pad_multiple, output)
        module.requires_grad_(False)
        try:
            super().__init__(OneSize(module, size) if size else module, *how)
        except OneSizeError as error:
            size = error.size
            super().__init__(OneSize(module, size), *how)
        self.size = size

    @property
    def sizes_told(self) -> str:
        """Which images it takes, for ``notes``."""
        return f"tiles of {self.size[1]}x{self.size[0]}" if self.size else super().sizes_told

    @property
    def takes_any_size(self) -> bool:
        """Whether images are neither padded nor cut for it."""
        return self.size is None and self.pad_multiple == 1

    def train(self, mode: bool = True) -> FileNetwork:
        super().train(False)
        return self
