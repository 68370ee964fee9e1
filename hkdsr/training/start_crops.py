"""The training crops that first weights are solved on: a pruned student and exit heads."""

from __future__ import annotations

from hkdsr.data.crops import Batch, CropSampler
from hkdsr.data.store import ImageStore

CROPS = 128
SIDE = 32
SEED = 20
"""Apart from the training's, so that runs with other seeds have the same start."""


def start_crops(store: ImageStore) -> Batch:
    """``CROPS`` crops of ``SIDE`` LR pixels a side, or as many as the largest image has; always the same."""
    side = min(SIDE, max(min(size) for size in store.sizes) // store.scale)
    return CropSampler(store, side, CROPS, SEED).batch(0)
