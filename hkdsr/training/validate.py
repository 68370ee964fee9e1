"""Validation during training: PSNR-Y on a few images that are used neither for training nor for benchmarks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hkdsr.data import bicubic_pair, list_images, rgb
from hkdsr.data.tensors import rounded, to_tensor, to_uint8
from hkdsr.deploy.piecewise import Images, enlarged
from hkdsr.deploy.tiles import forget_reach
from hkdsr.memory import CUT, needed_for
from hkdsr.scoring.metrics import psnr_y
from hkdsr.training.distiller import Distiller


class Validation:
    """Scores the averaged student on the first ``count`` images of ``folder``.

    ``key`` is a hash of their pixels: scores on other images cannot be compared with these.

    Raises HkdsrError if the folder is missing, empty, or has an unreadable image.
    """

    def __init__(self, folder: Path, scale: int, count: int) -> None:
        self._scale = scale
        self._paths = list_images(folder)[:count]
        with needed_for(f"data.val {folder}", "lower data.val_images, or cut its images into smaller ones"):
            pairs = [bicubic_pair(rgb(path), scale) for path in self._paths]
            self._lr, self._hr = [to_tensor(lr) for lr, _ in pairs], [hr for _, hr in pairs]
        pixels = hashlib.sha256()
        for hr in self._hr:
            pixels.update(f"{hr.shape}".encode() + hr.tobytes())
        self.key = pixels.hexdigest()

    @torch.inference_mode()
    def score(self, module: nn.Module) -> float:
        """Mean PSNR-Y in dB of a ``Distiller``'s student, ``scale`` pixels cropped from each side.

        Images that do not fit into memory run in tiles. Raises HkdsrError, naming the image, if that is not possible.
        """
        assert isinstance(module, Distiller)
        student, device = module.student, next(module.parameters()).device
        forget_reach(student)
        scores = []
        for path, lr, hr in zip(self._paths, self._lr, self._hr, strict=True):
            with needed_for(str(path), CUT):
                sr, *_ = enlarged(student, lr.to(device), str(path), CUT, _rounded)
                scores.append(psnr_y(to_uint8(sr), hr, self._scale))
        return float(np.mean(scores))


def _rounded(images: Images) -> Images:
    return [rounded(image) for image in images]
