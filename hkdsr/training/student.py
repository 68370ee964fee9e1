"""The student's training in its folder: weights, log, sessions and checkpoints."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from hkdsr.data.crops import CropSampler
from hkdsr.data.store import DerivedStore, ImageStore
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import save
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.settings.resume import lasting_settings, settings_by_kind
from hkdsr.training.context import Context
from hkdsr.training.distiller import Distiller
from hkdsr.training.distributed import process_group
from hkdsr.training.fit import fit
from hkdsr.training.sessions import Session
from hkdsr.training.teacher import Teacher
from hkdsr.training.validate import Validation

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "student.safetensors"
BEST_FILE = "best.safetensors"
REPORT_EVERY = 60.0
"""Seconds between two messages on a training's progress where no terminal shows a bar."""
TOO_MUCH = 0.1
"""From this share of the first weights in the averaged ones on, the user is warned."""


@dataclass(frozen=True)
class TrainingResult:
    """A run so far: the averaged student in eval mode, the file of its weights, steps and seconds of training."""

    network: Network
    weights: Path
    steps: int
    seconds: float


class Observer(Protocol):
    """Sees a training from inside, without changing it."""

    def begin(self, module: Distiller, stored: ImageStore | None) -> None:
        """All is made; ``stored`` holds the images whose teacher's outputs are read from disk, if they are."""

    def before_step(self, step: int) -> None:
        """Step ``step`` (from 0) is about to be taken."""


class StudentTraining:
    """What is known of a student's training before its folder is opened.

    ``origin`` holds what the weights' file says of where they came from; hashes in it (``..._sha256``) must stay when
    the run is continued. Made before stage 1, so that mistakes are found before any time is spent.

    Raises HkdsrError for images that do not suit the patch or the scale.
    """

    def __init__(
        self, recipe: TrainRecipe | DistillRecipe, module: Distiller, store: ImageStore, origin: dict[str, str]
    ) -> None:
        self._recipe, self._module, self._store = recipe, module, store
        hashes = {key: value for key, value in origin.items() if key.endswith("_sha256")}
        self.fingerprint = {**lasting_settings(recipe), **hashes, "images of data.train": store.key}
        """What must be equal when the run is continued, by name."""
        settings = settings_by_kind(recipe, "same", "content")
        self._metadata = {"recipe": json.dumps(settings), "data_sha256": store.key, **origin}
        data = recipe.data
        main = process_group().main
        self._validation = Validation(data.val, recipe.scale, data.val_images) if data.val and main else None
        self._sampler(None)
        first = recipe.training.ema**recipe.training.steps
        if first > TOO_MUCH:
            logger.warning(
                "After %d steps the averaged weights still hold %.0f %% of the first ones. Lower training.ema (%g) for "
                "so few steps.",
                recipe.training.steps,
                100 * first,
                recipe.training.ema,
            )

    def run(self, context: Context, teacher: Teacher | None = None, observer: Observer | None = None) -> TrainingResult:
        """Train to the end, from the checkpoint that ``context`` found."""
        recipe, processes = self._recipe, context.processes
        stored = teacher.stored if teacher else None
        if observer:
            observer.begin(self._module, self._store if stored else None)
        reported = time.monotonic()

        def before_step(step: int) -> None:
            nonlocal reported
            if observer:
                observer.before_step(step)
            self._module.before_step(step)
            if time.monotonic() - reported > REPORT_EVERY and not sys.stderr.isatty():
                reported = time.monotonic()
                logger.info("step %d of %d", step, recipe.training.steps)

        session = self._session(context)
        fitted = fit(
            self._module,
            self._sampler(stored),
            context,
            teacher,
            self._validation,
            lambda module, step, score: self._write(module, BEST_FILE, {"step": step, "val_psnr_y": score}),
            before_step,
        )
        if session:
            session.ended(fitted.steps, fitted.seconds - context.seconds)
        if processes.main:
            facts = {"step": fitted.steps, "seconds": round(fitted.seconds)}
            self._write(fitted.average, WEIGHTS_FILE, facts)
        processes.wait()
        assert isinstance(fitted.average, Distiller)
        student = fitted.average.student.cpu().eval()
        return TrainingResult(student, recipe.out / WEIGHTS_FILE, fitted.steps, fitted.seconds)

    def _sampler(self, stored: DerivedStore | None) -> CropSampler:
        training, processes = self._recipe.training, process_group()
        share = (processes.rank, processes.size)
        return CropSampler(self._store, self._recipe.data.patch, training.batch, training.seed, stored, share)

    def _session(self, context: Context) -> Session | None:
        """None where nothing is left to do, and in processes that do not write."""
        if not context.processes.main or context.step == self._recipe.training.steps:
            return None
        return Session(context.folder, context.step, context.device, context.processes.size)

    def _write(self, module: nn.Module, name: str, facts: dict[str, Any]) -> None:
        assert isinstance(module, Distiller)
        metadata = {**self._metadata, **{key: str(value) for key, value in facts.items()}}
        save(module.student, self._recipe.out / name, metadata)
