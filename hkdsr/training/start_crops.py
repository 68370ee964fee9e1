"""The training crops that first weights are solved on: a pruned student and exit heads."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from hkdsr.data.crops import Batch, CropSampler
from hkdsr.data.store import ImageStore
from hkdsr.nets.base import Network
from hkdsr.settings.degrade import Degrade

CROPS = 128
TOGETHER = 16
"""Crops that a network runs on at once."""
SIDE = 32
SEED = 20
"""Apart from the training's, so that runs with other seeds have the same start."""


def start_crops(
    store: ImageStore,
    target: Network | None = None,
    degrade: Degrade | None = None,
    count: int = CROPS,
    side: int = SIDE,
) -> Batch:
    """``count`` crops of ``side`` LR pixels a side, or as many as the largest image has; always the same.

    The images of ``target`` take the place of HR if it is given; without HR images there must be one.
    """
    side = min(side, max(min(size) for size in store.sizes) // store.scale)
    crops = CropSampler(store, side, count, SEED, degrade=degrade).batch(0)
    return dataclasses.replace(crops, optional_hr=_images(target, crops)) if target else crops


def mean_psnr(sr: Tensor, hr: Tensor) -> float:
    """The mean over images (B, 3, H, W), ``hr`` in [0, 1], of their PSNR in dB; 100 for equal ones."""
    return float(-10 * (sr.clamp(0, 1) - hr).square().mean((1, 2, 3)).clamp(min=1e-10).log10().mean())


@torch.no_grad()
def _images(network: Network, crops: Batch) -> Tensor:
    device = next(network.parameters(), torch.zeros(())).device
    return torch.cat([network(lr.to(device)).float().cpu() for lr in crops.lr.split(TOGETHER)]).clamp(0, 1)
