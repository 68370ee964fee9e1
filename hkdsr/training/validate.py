"""Validation during training: PSNR-Y on a few images that are neither trained on nor reported on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hkdsr.data import bicubic_pair, list_images, rgb
from hkdsr.data.tensors import to_tensor, to_uint8
from hkdsr.scoring.metrics import psnr_y
from hkdsr.training.distiller import Distiller


class Validation:
    """The first ``count`` images of ``folder``, to score the averaged student on.

    ``key`` is a hash of their pixels: scores on other images cannot be compared with these.

    Raises HkdsrError if the folder is missing, empty, or has an unreadable image.
    """

    def __init__(self, folder: Path, scale: int, count: int) -> None:
        self._scale = scale
        pairs = [bicubic_pair(rgb(path), scale) for path in list_images(folder)[:count]]
        self._lr, self._hr = [to_tensor(lr) for lr, _ in pairs], [hr for _, hr in pairs]
        pixels = hashlib.sha256()
        for hr in self._hr:
            pixels.update(f"{hr.shape}".encode() + hr.tobytes())
        self.key = pixels.hexdigest()

    @torch.inference_mode()
    def score(self, module: nn.Module) -> float:
        """Mean PSNR-Y in dB of a ``Distiller``'s student, ``scale`` pixels cropped from each side."""
        assert isinstance(module, Distiller)
        device = next(module.parameters()).device
        images = (to_uint8(module.student(lr.to(device))) for lr in self._lr)
        return float(np.mean([psnr_y(sr, hr, self._scale) for sr, hr in zip(images, self._hr, strict=True)]))
