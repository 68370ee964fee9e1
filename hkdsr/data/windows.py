"""One window of each training image, so that a teacher has a small area to enlarge and the images stay as different."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from hkdsr.data.store import ImageStore

SEED = 40
"""Apart from the training's, so that runs with other seeds share the windows and the teacher's images of them."""


class WindowStore(ImageStore):
    """A window of each image of ``base``: ``side`` LR pixels a side, or the image's own size where that is smaller.

    Places are drawn uniformly from all that fit, by the number of the image alone.
    """

    def __init__(self, base: ImageStore, side: int) -> None:
        super().__init__(base.folder)
        self._base = base
        self.key = f"{base.key} windows {SEED} {side}"
        sizes = np.array(base.sizes).reshape(-1, 2) // base.scale
        cut = np.minimum(sizes, side)
        self._places = [
            np.random.default_rng(np.random.SeedSequence([SEED, index])).integers(room)
            for index, room in enumerate(sizes - cut + 1)
        ]
        self._cut = cut
        self.sizes = [(int(height), int(width)) for height, width in cut * base.scale]
        self.offsets = list(accumulate((3 * height * width for height, width in self.sizes), initial=0))

    def hr(self, index: int) -> np.ndarray:
        """HR window, uint8 (H, W, 3), without a copy."""
        return self._window(self._base.hr(index), index, self.scale)

    def lr(self, index: int) -> np.ndarray:
        """LR window, uint8 (H/scale, W/scale, 3), without a copy."""
        return self._window(self._base.lr(index), index, 1)

    def _window(self, image: np.ndarray, index: int, scale: int) -> np.ndarray:
        top, left = self._places[index] * scale
        height, width = self._cut[index] * scale
        return image[top : top + height, left : left + width]
