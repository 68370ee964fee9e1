"""Validation during training: PSNR-Y on a few images that are used neither for training nor for benchmarks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hkdsr.data import bicubic_pair, list_images, mod_crop, rgb
from hkdsr.data.degrade import Degrader, random_of
from hkdsr.data.tensors import rounded, to_tensor, to_uint8
from hkdsr.deploy.piecewise import Images, enlarged
from hkdsr.deploy.tiles import forget_reach
from hkdsr.memory import CUT, needed_for
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import digest
from hkdsr.scoring.inference import super_resolve
from hkdsr.scoring.metrics import psnr_y
from hkdsr.settings.degrade import Degrade
from hkdsr.training.distiller import Distiller
from hkdsr.training.kept_images import KeptImages, Validated
from hkdsr.training.log import TO_HR, TO_TEACHER

SEED = 40
"""Apart from the training's: runs with other seeds are validated on the same images."""


class Validation:
    """Scores the averaged student on the first ``count`` images of ``folder``.

    Their LR is made by MATLAB's bicubic or, with ``degrade``, by a degradation of each image that is always the same.
    With ``teacher``, the images are LR, and its images take the place of HR. ``kept`` writes the first images of every
    validation into the run's folder.

    ``key`` is a hash of their pixels: scores on other images cannot be compared with these. ``measure`` is the name of
    the score that counts.

    Raises HkdsrError if the folder is missing, empty, or has an unreadable image.
    """

    def __init__(
        self,
        folder: Path,
        scale: int,
        count: int,
        degrade: Degrade | None = None,
        teacher: Network | None = None,
        kept: KeptImages | None = None,
    ) -> None:
        degrader = Degrader(degrade, 1 if teacher else scale) if degrade and degrade.used else None
        self._scale, self._teacher, self._kept = scale, teacher, kept
        self.measure = TO_TEACHER if teacher else TO_HR
        self._paths = list_images(folder)[:count]
        with needed_for(f"data.val {folder}", "lower data.val_images, or cut its images into smaller ones"):
            images = [rgb(path) for path in self._paths]
            self._hr = [] if teacher else [mod_crop(image, scale) for image in images]
            sources = self._hr or images
            if degrader:
                lr = [degrader.degraded(image, random_of(SEED, 0, index)) for index, image in enumerate(sources)]
            else:
                lr = images if teacher else [bicubic_pair(image, scale)[0] for image in images]
        self._lr = [to_tensor(image) for image in lr]
        pixels = hashlib.sha256(digest(teacher.state_dict()).encode() if teacher else b"")
        for image in (*self._hr, *(lr if teacher or degrader else ())):
            pixels.update(f"{image.shape}".encode() + image.tobytes())
        self.key = pixels.hexdigest()
        self._by_teacher: list[np.ndarray] = []

    def score_by(self, teacher: Network) -> None:
        """Score the likeness to the images of ``teacher`` too, and let that count, as it is what the student learns."""
        self._teacher, self.measure = teacher, TO_TEACHER
        self.key = hashlib.sha256(f"{self.key} {digest(teacher.state_dict())}".encode()).hexdigest()

    @torch.inference_mode()
    def score(self, module: nn.Module, step: int = 0) -> dict[str, float]:
        """Mean PSNR-Y in dB of a ``Distiller``'s student to HR and to the teacher's images, by the names of the scores.

        ``step`` is the number of steps that the student has been trained for. ``scale`` pixels are cropped a side.
        Images that do not fit into memory run in tiles. Raises HkdsrError, naming the image, if that is not possible.
        """
        assert isinstance(module, Distiller)
        student, device = module.student, next(module.parameters()).device
        forget_reach(student)
        if self._teacher and not self._by_teacher:
            self._by_teacher = [super_resolve(self._teacher, to_uint8(lr)) for lr in self._lr]
        references = {TO_HR: self._hr, TO_TEACHER: self._by_teacher}
        scores: dict[str, list[float]] = {name: [] for name, images in references.items() if images}
        shown = []
        for index, (path, lr) in enumerate(zip(self._paths, self._lr, strict=True)):
            with needed_for(str(path), CUT):
                sr, *_ = enlarged(student, lr.to(device), str(path), CUT, _rounded)
                image = to_uint8(sr)
                for name, found in scores.items():
                    found.append(psnr_y(image, references[name][index], self._scale))
            if self._kept and index < self._kept.count:
                shown.append(Validated(path.name, to_uint8(lr), image, self._hr[index] if self._hr else None))
        if self._kept and shown:
            self._kept.keep(step, self.key, shown)
        return {name: float(np.mean(found)) for name, found in scores.items()}


def _rounded(images: Images) -> Images:
    return [rounded(image) for image in images]
