"""A network at work that tells how far it is, stops when told to, and keeps the part of the image that is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np

from hkdsr.deploy.grid import TileSize
from hkdsr.deploy.upscale import TorchUpscaler
from hkdsr.deploy.upscaler import Readable, Upscaler, Writable
from hkdsr.errors import HkdsrError

SIDE = 2048
"""Pixels of the longest side that is shown of a result."""

Part = tuple[slice, slice]


class CancelledError(HkdsrError):
    """The visitor has had enough."""

    def __init__(self) -> None:
        super().__init__("cancelled: start again, if you like")


@dataclass(frozen=True)
class Watch:
    """When to ``stop``; whom to tell the share that is done, in 0..1, with the number of tiles; what to show.

    ``place`` is where the part that is shown of large images lies, as shares of the free height and width.
    """

    stop: Event
    tell: Callable[[float, int], object]
    place: tuple[float, float] = (0.5, 0.5)

    def check(self, *_: object) -> None:
        """Raise CancelledError if the work is to stop."""
        if self.stop.is_set():
            raise CancelledError


class Watched:
    """The ``Upscaler`` ``inner`` under a ``watch``. It stops between two layers of a network that PyTorch runs.

    After ``fill``, ``lr`` and ``sr`` are what is shown of the image and of the result, grey (h, w) or RGB (h, w, 3) of
    their type, and ``part`` is where that lies in the image (rows, columns).
    """

    def __init__(self, inner: Upscaler, watch: Watch) -> None:
        self._inner, self._watch = inner, watch
        self.scale, self.runtime, self.on_gpu = inner.scale, inner.runtime, inner.on_gpu

    def fill(self, image: Readable, enlarged: Writable, name: str, tile: TileSize, progress: bool) -> None:
        """As in ``Upscaler``. Raises CancelledError too."""
        self._image, self._enlarged, size = image, enlarged, image.shape[:2]
        rows, columns = (_part(*pair, SIDE // self.scale) for pair in zip(size, self._watch.place, strict=True))
        self.part, height, width = (rows, columns), rows.stop - rows.start, columns.stop - columns.start
        self.lr = np.zeros((height, width, *image.shape[2:]), image.dtype)
        self.sr = np.zeros((self.scale * height, self.scale * width, *image.shape[2:]), image.dtype)
        self._pixels, self._done, self._tiles = self.scale**2 * size[0] * size[1], 0, 0
        with self._stoppable():
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
        self._watch.check()
        pixels = self._image[part]
        _keep(self.lr, self.part, part, pixels)
        return pixels

    def __setitem__(self, part: Part, pixels: np.ndarray) -> None:
        self._enlarged[part] = pixels
        _keep(self.sr, large(self.part, self.scale), part, pixels)
        if part[0].start == part[1].start == 0:
            self._done = self._tiles = 0  # anew, in smaller tiles
        self._done, self._tiles = self._done + pixels.shape[0] * pixels.shape[1], self._tiles + 1
        self._watch.tell(self._done / self._pixels, self._tiles)
        self._watch.check()

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        modules = self._inner.network.modules() if isinstance(self._inner, TorchUpscaler) else ()
        hooks = [module.register_forward_pre_hook(self._watch.check) for module in modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def large(part: Part, scale: int) -> Part:
    """Where a part of the image lies in the result."""
    rows, columns = (slice(scale * one.start, scale * one.stop) for one in part)
    return rows, columns


def _part(length: int, place: float, longest: int) -> slice:
    start = round(min(max(place, 0), 1) * max(length - longest, 0))
    return slice(start, min(start + longest, length))


def _keep(kept: np.ndarray, part: Part, given: Part, pixels: np.ndarray) -> None:
    """Copy what ``part`` and ``given`` share to ``kept``, which lies at ``part``, from ``pixels``, at ``given``."""
    both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(part, given, strict=True)]
    if all(one.start < one.stop for one in both):
        inside = [slice(one.start - own.start, one.stop - own.start) for one, own in zip(both, part, strict=True)]
        outside = [slice(one.start - own.start, one.stop - own.start) for one, own in zip(both, given, strict=True)]
        kept[inside[0], inside[1]] = pixels[outside[0], outside[1]]
