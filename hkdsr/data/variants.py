"""Images that are degraded once before a training, each in several variants, and kept on the disk."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from hkdsr.data import flat
from hkdsr.data.degrade import VERSION, Degrader, random_of
from hkdsr.data.derived import DerivedStore
from hkdsr.data.store import ImageStore
from hkdsr.settings.degrade import Degrade

SEED = 30
"""Apart from the training's, so that runs with other seeds share the variants."""


class VariantStore(ImageStore):
    """The images of ``base``, each with ``degrade.variants`` degraded LR images in place of its own.

    Image ``i`` of this store is variant ``i % variants`` of image ``i // variants``; HR is the same for all of them.
    The variants are made in ``folder`` where they are missing; after a kill, this goes on where it stopped.

    Raises HkdsrError if the disk is full.
    """

    def __init__(self, base: ImageStore, degrade: Degrade, folder: Path) -> None:
        super().__init__(base.folder)
        count = self._count = degrade.variants
        scale = base.scale if base.has_hr else 1
        settings = json.dumps(asdict(degrade.resolved(scale)))
        key = f"degraded {VERSION} {SEED} {settings}"
        with flat.writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".variants.lock"):  # of several processes, the first one makes them
                self._variants = DerivedStore(folder, _LrSizes(base), key, count)
                self._fill(base, Degrader(degrade, scale))
        self._base = base
        self.key = self._variants.key
        self.names = [f"{name} ({number + 1})" for name in base.names for number in range(count)]
        self.sizes = [size for size in base.sizes for _ in range(count)]
        self.offsets = list(accumulate((3 * height * width for height, width in self.sizes), initial=0))

    def hr(self, index: int) -> np.ndarray:
        """HR image, uint8 (H, W, 3), without a copy."""
        return self._base.hr(index // self._count)

    def lr(self, index: int) -> np.ndarray:
        """Degraded LR image, uint8 (H/scale, W/scale, 3), without a copy."""
        return self._variants.get(index % self._count, index // self._count)

    def _fill(self, base: ImageStore, degrader: Degrader) -> None:
        missing = self._variants.missing
        for index in tqdm(missing, "degrading", unit="image", disable=None if missing else True):
            image = base.hr(index) if base.has_hr else base.lr(index)
            draws = (random_of(SEED, index, number) for number in range(self._count))
            self._variants.put(index, [degrader.degraded(image, random) for random in draws])


class _LrSizes:
    """The layout of the LR images of a store."""

    def __init__(self, store: ImageStore) -> None:
        self.key = store.key
        self.sizes = [(height // store.scale, width // store.scale) for height, width in store.sizes]
        self.offsets = list(accumulate((3 * height * width for height, width in self.sizes), initial=0))

    def __len__(self) -> int:
        return len(self.sizes)
