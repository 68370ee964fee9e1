"""What enlarges images: a network and what runs it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hkdsr.deploy.grid import TileSize


class Readable(Protocol):
    """An image, or what gives the parts of one: grey (H, W) or RGB (H, W, 3)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, part: tuple[slice, slice], /) -> np.ndarray: ...


class Writable(Protocol):
    """An image, or what takes the parts of one: by rows of tiles, from the top, and anew if they did not fit."""

    def __setitem__(self, part: tuple[slice, slice], pixels: np.ndarray, /) -> None: ...


class Upscaler(Protocol):
    """A network, and the ``runtime`` that runs it, as its makers write it."""

    @property
    def scale(self) -> int:
        """2, 3 or 4."""
        ...

    @property
    def runtime(self) -> str: ...

    @property
    def on_gpu(self) -> bool: ...

    def fill(self, image: Readable, enlarged: Writable, name: str, tile: TileSize, progress: bool) -> None:
        """Enlarge ``image`` tile by tile into ``enlarged``, of its type. Raises HkdsrError as ``upscale`` does."""
        ...
