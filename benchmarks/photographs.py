"""Crops of the demo's photographs, which every installation with the extra ``demo`` has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hkdsr.data import imresize, rgb
from hkdsr.data.embedded import demo_files
from hkdsr.data.sources import Pair
from hkdsr.data.store import ImageStore, build_store


def store(folder: Path, scale: int) -> ImageStore:
    """The whole photographs, decoded into ``folder``."""
    return build_store([Pair(name, path) for name, path in demo_files()[0].items()], scale, folder, progress=False)


def crops(batch: int, patch: int, scale: int) -> tuple[Tensor, Tensor]:
    """LR (batch, 3, patch, patch) and HR crops, ``scale`` times as large, in [0, 1]."""
    images = [rgb(path) for path in demo_files()[0].values()]
    random, side = np.random.default_rng(0), scale * patch
    cut = []
    for index in range(batch):
        image = images[index % len(images)]
        top, left = (random.integers(size - side + 1) for size in image.shape[:2])
        cut.append(torch.from_numpy(image[top : top + side, left : left + side].copy()).permute(2, 0, 1))
    hr = (torch.stack(cut).float() / 255).contiguous()
    return imresize(hr, 1 / scale).clamp(0, 1), hr


def blurred(hr: Tensor, scale: int) -> Tensor:
    """HR crops (B, 3, H, W), reduced ``scale`` times and enlarged again: what a network makes of them."""
    return imresize(imresize(hr, 1 / scale), scale)[..., : hr.shape[-2], : hr.shape[-1]].contiguous()
