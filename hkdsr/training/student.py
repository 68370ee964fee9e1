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
from hkdsr.data.derived import JoinedStores
from hkdsr.data.store import ImageStore
from hkdsr.memory import needed_for
from hkdsr.nets import FAMILIES
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import save
from hkdsr.nets.reparam import expand, fused
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.settings.resume import lasting_settings, settings_by_kind
from hkdsr.training.checkpoint import HASH
from hkdsr.training.context import Context
from hkdsr.training.distiller import Distiller
from hkdsr.training.distributed import process_group
from hkdsr.training.fit import Fitted, fit
from hkdsr.training.kept_images import COUNT, KeptImages
from hkdsr.training.log import summary_writer
from hkdsr.training.sessions import Session
from hkdsr.training.stopping import asked_to_stop
from hkdsr.training.teacher import Teacher
from hkdsr.training.validate import Validation

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "student.safetensors"
BEST_FILE = "best.safetensors"
REMEDY = "lower training.batch or data.patch, raise training.accumulate, or choose a smaller student"
START_SCORE = "start_val_psnr_y"
"""Key in the metadata of checkpoints and weights: the score of the first weights on ``data.val`` in dB."""
REPORT_EVERY = 60.0
"""Seconds between two messages on the progress of a training if no terminal shows a progress bar."""
INITIAL_SHARE = 0.1
"""The user is warned if the averaged weights will hold more than this share of the initial ones."""


@dataclass(frozen=True)
class TrainingResult:
    """The state of a run: the averaged student in eval mode, the file of its weights, steps and seconds of training."""

    network: Network
    weights: Path
    steps: int
    seconds: float


class Observer(Protocol):
    """Is called during a training, which it does not change."""

    def begin(self, module: Distiller, stored: ImageStore | None) -> None:
        """Called before the first step; ``stored`` holds the training images if the teacher's outputs are cached."""

    def before_step(self, step: int) -> None:
        """Called before step ``step`` (from 0)."""


class StudentTraining:
    """A student's training, made before its folder is opened and stage 1 runs, so that mistakes are found early.

    ``origin`` is metadata of the weights' file on where they come from; hashes in it (``..._sha256``) must stay the
    same when the run is continued. ``teacher`` gives the images for validation where there is no HR, and those that are
    kept to look at.

    Raises HkdsrError for images that do not suit the patch or the scale, and if TensorBoard is set but missing.
    """

    def __init__(
        self,
        recipe: TrainRecipe | DistillRecipe,
        module: Distiller,
        store: ImageStore,
        origin: dict[str, str],
        teacher: Network | None = None,
    ) -> None:
        self._recipe, self._module, self._store = recipe, module, store
        hashes = {key: value for key, value in origin.items() if key.endswith(HASH)}
        self.fingerprint = {**lasting_settings(recipe), **hashes, "images of data.train": store.key}
        """What must be equal when the run is continued, by name."""
        settings = settings_by_kind(recipe, "same", "content")
        self.metadata = {"recipe": json.dumps(settings), "data_sha256": store.key, **origin}
        """What the file of the weights says about the run, apart from its steps and scores."""
        data = recipe.data
        if data.val:
            self.metadata["val"] = str(data.val)
        main = process_group().main
        reference = teacher if data.lr_only else None
        self._validation = None
        if data.val and main:
            kept = KeptImages(recipe.out, COUNT if data.val_kept is None else data.val_kept, teacher)
            self._validation = Validation(data.val, recipe.scale, data.val_images, recipe.degrade, reference, kept)
        random = recipe.init == "scratch" and str(recipe.student).partition(":")[0] in FAMILIES
        self._scores_start = not random
        self._sampler(None)
        if recipe.training.tensorboard:
            summary_writer()
        share = recipe.training.ema**recipe.training.steps
        if share > INITIAL_SHARE:
            logger.warning(
                "After %d steps the averaged weights still hold %.0f %% of the initial ones. Lower training.ema (%g) "
                "for so few steps.",
                recipe.training.steps,
                100 * share,
                recipe.training.ema,
            )

    def learns_from(self, teacher: Network) -> None:
        """Validate the likeness to the images of ``teacher``, which are the target in place of HR."""
        if self._validation and not self._recipe.data.lr_only:
            self._validation.score_by(teacher)

    def run(self, context: Context, teacher: Teacher | None = None, observer: Observer | None = None) -> TrainingResult:
        """Train to the end of the session, from the checkpoint that ``context`` found."""
        recipe, processes = self._recipe, context.processes
        if recipe.training.reparameterise:
            expand(self._module.student)  # here, because weights have been set by now, whatever their start
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

        self._score_start(context)
        session = self._session(context)
        measure = self._validation.measure if self._validation else ""
        with needed_for(f"the training in {recipe.out}", REMEDY), asked_to_stop() as stops:
            fitted = fit(
                self._module,
                self._sampler(stored),
                context,
                teacher,
                self._validation,
                lambda module, step, score: self._write(module, BEST_FILE, {"step": step, measure: score}),
                before_step,
                stops,
            )
        if session:
            session.ended(fitted.steps, fitted.seconds - context.seconds)
        if processes.main:
            facts = {"step": fitted.steps, "seconds": round(fitted.seconds)}
            self._write(fitted.average, WEIGHTS_FILE, facts)
            self._compare_with_start(fitted)
        processes.wait()
        assert isinstance(fitted.average, Distiller)
        student = fused(fitted.average.student).cpu().eval()
        return TrainingResult(student, recipe.out / WEIGHTS_FILE, fitted.steps, fitted.seconds)

    def _score_start(self, context: Context) -> None:
        """Score first weights that are worth something, or find the score in the checkpoint of a continued run."""
        if self._validation is None or not self._scores_start:
            return
        if context.found is None:
            scores = self._validation.score(self._module)
            self.metadata[START_SCORE] = f"{scores[self._validation.measure]:.4f}"
        elif context.found.validated_on == self._validation.key and START_SCORE in context.found.metadata:
            self.metadata[START_SCORE] = context.found.metadata[START_SCORE]

    def _compare_with_start(self, fitted: Fitted) -> None:
        start = float(self.metadata.get(START_SCORE, "-inf"))
        if fitted.steps == self._recipe.training.steps and float("-inf") < fitted.last < start:
            logger.warning(
                "The training has lowered the PSNR on data.val from %.2f to %.2f dB: start again with a lower "
                "training.lr, or keep the weights that it started from.",
                start,
                fitted.last,
            )

    def _sampler(self, stored: JoinedStores | None) -> CropSampler:
        training, processes = self._recipe.training, process_group()
        share = (processes.rank, processes.size)
        patch, degrade = self._recipe.data.patch, self._recipe.degrade
        return CropSampler(self._store, patch, training.batch, training.seed, stored, share, degrade)

    def _session(self, context: Context) -> Session | None:
        """None if no steps are left to do, and in processes that do not write."""
        if not context.processes.main or context.step == self._recipe.training.steps:
            return None
        return Session(context)

    def _write(self, module: nn.Module, name: str, facts: dict[str, Any]) -> None:
        assert isinstance(module, Distiller)
        metadata = {**self.metadata, **{key: str(value) for key, value in facts.items()}}
        save(fused(module.student), self._recipe.out / name, metadata)
