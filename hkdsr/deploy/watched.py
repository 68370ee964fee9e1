"""A network at work that tells how far it is, stops when told to, and keeps the part of the image that is shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from hkdsr.deploy.grid import TileSize
from hkdsr.deploy.upscale import TorchUpscaler
from hkdsr.deploy.upscaler import Readable, Upscaler, Writable
from hkdsr.stop import Stop

SIDE = 2048
"""Pixels of the longest side that is shown of a result."""

Part = tuple[slice, slice]
Tell = Callable[[float, int], object]
"""Takes the share that is done, in 0..1, and the number of tiles."""


class Watched:
    """The ``Upscaler`` ``inner``, which calls ``tell`` after each tile.

    Once ``stop`` is given it ends between two layers of a network that PyTorch or ONNX Runtime runs, or else after the
    tile. After ``fill``, ``lr`` and ``sr`` are the middle of the image and of the result, grey (h, w) or RGB (h, w, 3)
    of their type, and ``part`` is where that lies in the image (rows, columns).
    """

    def __init__(self, inner: Upscaler, stop: Stop, tell: Tell) -> None:
        self._inner, self._stop, self._tell = inner, stop, tell
        self.scale, self.runtime, self.on_gpu = inner.scale, inner.runtime, inner.on_gpu

    def fill(self, image: Readable, enlarged: Writable, name: str, tile: TileSize, progress: bool) -> None:
        """As in ``Upscaler``. Raises CancelledError too."""
        self._image, self._enlarged, size = image, enlarged, image.shape[:2]
        self.part = rows, columns = _middle(size[0], SIDE // self.scale), _middle(size[1], SIDE // self.scale)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        self.lr = np.zeros((height, width, *image.shape[2:]), image.dtype)
        self.sr = np.zeros((self.scale * height, self.scale * width, *image.shape[2:]), image.dtype)
        self._pixels, self._done, self._tiles = self.scale**2 * size[0] * size[1], 0, 0
        modules = self._inner.network.modules() if isinstance(self._inner, TorchUpscaler) else ()
        with self._stop.heeded(), ExitStack() as hooks:
            for module in modules:
                hooks.callback(module.register_forward_pre_hook(self._stop.check).remove)
            self._inner.fill(self, self, name, tile, progress)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image, as it is read by way of this."""
        return self._image.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the image."""
        return self._image.dtype

    def __getitem__(self, part: Part) -> np.ndarray:
        self._stop.check()
        pixels = self._image[part]
        _keep(self.lr, self.part, part, pixels)
        return pixels

    def __setitem__(self, part: Part, pixels: np.ndarray) -> None:
        self._enlarged[part] = pixels
        _keep(self.sr, large(self.part, self.scale), part, pixels)
        if part[0].start == part[1].start == 0:
            self._done = self._tiles = 0  # anew, in smaller tiles
        self._done, self._tiles = self._done + pixels.shape[0] * pixels.shape[1], self._tiles + 1
        self._tell(self._done / self._pixels, self._tiles)
        self._stop.check()


def large(part: Part, scale: int) -> Part:
    """Where a part of the image lies in the result."""
    rows, columns = (slice(scale * one.start, scale * one.stop) for one in part)
    return rows, columns


def _middle(length: int, longest: int) -> slice:
    start = max(length - longest, 0) // 2
    return slice(start, min(start + longest, length))


def _keep(kept: np.ndarray, part: Part, given: Part, pixels: np.ndarray) -> None:
    """Copy what ``part`` and ``given`` share to ``kept``, which lies at ``part``, from ``pixels``, at ``given``."""
    both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(part, given, strict=True)]
    if all(one.start < one.stop for one in both):
        inside = [slice(one.start - own.start, one.stop - own.start) for one, own in zip(both, part, strict=True)]
        outside = [slice(one.start - own.start, one.stop - own.start) for one, own in zip(both, given, strict=True)]
        kept[inside[0], inside[1]] = pixels[outside[0], outside[1]]
