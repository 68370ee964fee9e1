"""Validation during training: PSNR-Y on a few pictures that are neither trained on nor reported on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hkdsr.data import imresize, list_pictures, mod_crop, rgb
from hkdsr.evaluate.metrics import psnr_y
from hkdsr.training.distiller import Distiller
from hkdsr.training.fit import Validation
from hkdsr.training.stage1 import to_uint8


def validation(folder: Path, scale: int, count: int) -> tuple[Validation, str]:
    """A function from a Distiller to the mean PSNR-Y in dB (border of ``scale`` pixels cut) on ``count`` pictures.

    With it comes a hash of the pictures, for scores on others are not to be compared with these.

    Raises HkdsrError if the folder is missing, empty, or holds an unreadable picture.
    """
    truths = [mod_crop(rgb(path), scale) for path in list_pictures(folder)[:count]]
    inputs = [torch.from_numpy(imresize(hr, 1 / scale)).permute(2, 0, 1)[None].float() / 255 for hr in truths]

    @torch.inference_mode()
    def score(module: nn.Module) -> float:
        assert isinstance(module, Distiller)
        device = next(module.parameters()).device
        pictures = (to_uint8(module.student(lr.to(device))) for lr in inputs)
        return float(np.mean([psnr_y(sr, hr, scale) for sr, hr in zip(pictures, truths, strict=True)]))

    seen = hashlib.sha256()
    for hr in truths:
        seen.update(f"{hr.shape}".encode() + hr.tobytes())
    return score, seen.hexdigest()
