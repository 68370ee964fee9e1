"""The student's training, from all that it needs to weights, log and checkpoints in a folder."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from hkdsr.config import FREE_ON_RESUME, flat_settings, lasting_settings
from hkdsr.data.crops import CropSampler
from hkdsr.data.store import DerivedStore, PictureStore
from hkdsr.files import claimed
from hkdsr.nets.base import Network
from hkdsr.nets.load import save
from hkdsr.nets.reparam import fused
from hkdsr.recipe import DistillRecipe, TrainRecipe
from hkdsr.training.checkpoint import FILE, read_checkpoint
from hkdsr.training.distiller import Distiller
from hkdsr.training.distributed import team
from hkdsr.training.fit import TeacherPass, fit, pick_device
from hkdsr.training.legs import Leg
from hkdsr.training.validate import validation

WEIGHTS_FILE = "student.safetensors"
BEST_FILE = "best.safetensors"
SAID_EVERY = 60.0
"""Seconds between two words on a training's progress where no terminal shows a bar."""
TOO_MUCH = 0.1
"""The share of the first weights in the averaged ones from which on it is worth a word."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingResult:
    """A run, or the legs of it so far: the averaged student in eval mode, where its weights lie, steps done and seconds
    of training."""

    network: Network
    weights: Path
    steps: int
    seconds: float


class Watch(Protocol):
    """Whoever wants to see a training from inside, without changing it."""

    def begin(self, module: Distiller, cached: PictureStore | None) -> None:
        """All is made; ``cached`` holds the pictures whose teacher's outputs are taken from disk, if they are."""

    def before_step(self, step: int) -> None:
        """Step ``step`` (from 0) is about to be taken."""


class StudentTraining:
    """The student's training: made before stage 1, so that mistakes are found before any time is spent."""

    def __init__(
        self,
        recipe: TrainRecipe | DistillRecipe,
        module: Distiller,
        store: PictureStore,
        origin: dict[str, str],
        say: Say,
    ) -> None:
        self._recipe, self._module, self._store, self._say = recipe, module, store, say
        settings = {key: value for key, value in flat_settings(recipe).items() if key not in FREE_ON_RESUME}
        hashes = {key: value for key, value in origin.items() if key.endswith("_sha256")}
        self._fingerprint = {**lasting_settings(recipe), **hashes, "pictures of data.train": store.key}
        self._metadata = {"recipe": json.dumps(settings), "data_sha256": store.key, **origin}
        data = recipe.data
        self._team = team()
        val = data.val if self._team.main else None
        self._validate, self._validated_on = validation(val, recipe.scale, data.val_pictures) if val else (None, "")
        self._sampler(None)
        pick_device(recipe.training.device)
        step, _ = self._begun()
        if step:
            say(f"goes on from step {step} in {recipe.out}")
        first = recipe.training.ema**recipe.training.steps
        if first > TOO_MUCH:
            say(
                f"note: after {recipe.training.steps} steps the averaged weights are still {100 * first:.0f} % of the "
                f"first ones: a training.ema below {recipe.training.ema} suits so few"
            )

    def run(self, teacher: TeacherPass, derived: DerivedStore | None, watch: Watch | None = None) -> TrainingResult:
        """Train to the end; ``derived`` holds the pictures that ``teacher`` takes from the batch, if it does."""
        recipe = self._recipe
        if watch:
            watch.begin(self._module, None if derived is None else self._store)
        said = time.monotonic()

        def before_step(step: int) -> None:
            nonlocal said
            if watch:
                watch.before_step(step)
            self._module.before_step(step)
            if time.monotonic() - said > SAID_EVERY and not sys.stderr.isatty():
                said = time.monotonic()
                self._say(f"step {step} of {recipe.training.steps}")

        with claimed(recipe.out) if self._team.main else nullcontext():
            step, seconds = self._begun()  # again, as another process may have gone on before the folder was free
            leg = self._leg(step)
            fitted = fit(
                self._module,
                self._sampler(derived),
                recipe.training,
                recipe.out,
                self._fingerprint,
                teacher,
                self._validate,
                self._validated_on,
                lambda module, step, score: self._write(module, BEST_FILE, {"step": step, "val_psnr_y": score}),
                before_step,
                label=recipe.out.name,
                team=self._team,
            )
            if leg:
                leg.ended(fitted.steps, fitted.seconds - seconds)
            facts = {"step": fitted.steps, "seconds": round(fitted.seconds)}
            weights = self._team.main_first(lambda: self._write(fitted.average, WEIGHTS_FILE, facts))
        assert isinstance(fitted.average, Distiller)
        return TrainingResult(fused(fitted.average.student).cpu().eval(), weights, fitted.steps, fitted.seconds)

    def _begun(self) -> tuple[int, float]:
        """Steps and seconds of training so far. Raises HkdsrError as ``read_checkpoint`` does."""
        found = read_checkpoint(self._recipe.out / FILE, self._fingerprint)
        return (found.step, found.seconds) if found else (0, 0.0)

    def _leg(self, step: int) -> Leg | None:
        """None where nothing is left to do, and in processes that do not write."""
        training = self._recipe.training
        if not self._team.main or step == training.steps:
            return None
        return Leg(self._recipe.out, step, pick_device(training.device), self._team.size)

    def _sampler(self, derived: DerivedStore | None) -> CropSampler:
        recipe = self._recipe
        training, share = recipe.training, (self._team.rank, self._team.size)
        return CropSampler(self._store, recipe.data.patch, training.batch, training.seed, derived, share)

    def _write(self, module: nn.Module, name: str, facts: dict[str, Any]) -> Path:
        assert isinstance(module, Distiller)
        path = self._recipe.out / name
        if self._team.main:
            save(fused(module.student), path, {**self._metadata, **{key: str(value) for key, value in facts.items()}})
        return path
