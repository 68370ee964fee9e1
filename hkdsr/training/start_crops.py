"""The training crops that first weights are solved on: a pruned student and exit heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hkdsr.data.crops import CropSampler
from hkdsr.data.store import ImageStore
from hkdsr.nets.base import Network
from hkdsr.settings.degrade import Degrade

CROPS = 128
SIDE = 32
SEED = 20
"""Apart from the training's, so that runs with other seeds have the same start."""


@dataclass(frozen=True)
class StartCrops:
    """LR (B, 3, p, p) and HR (B, 3, scale*p, scale*p) crops in [0, 1]."""

    lr: Tensor
    hr: Tensor


@torch.no_grad()
def start_crops(store: ImageStore, teacher: Network, degrade: Degrade | None = None) -> StartCrops:
    """``CROPS`` crops of ``SIDE`` LR pixels a side, or as many as the largest image has; always the same.

    Where there is no HR, the image of ``teacher``, which is on the CPU, takes its place.
    """
    side = min(SIDE, max(min(size) for size in store.sizes) // store.scale)
    batch = CropSampler(store, side, CROPS, SEED, degrade=degrade).batch(0)
    if batch.optional_hr is not None:
        return StartCrops(batch.lr, batch.hr)
    parts = batch.lr.split(CROPS // 8)
    return StartCrops(batch.lr, torch.cat([teacher(lr).float().clamp(0, 1) for lr in parts]))
