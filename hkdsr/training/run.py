"""The verbs ``train`` and ``distill``: from a recipe to a folder with weights, log and checkpoints."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from hkdsr.choices import TeacherPictures
from hkdsr.config import FREE_ON_RESUME, flat_settings, lasting_settings
from hkdsr.data.crops import CropSampler
from hkdsr.data.sources import find_pairs, spread
from hkdsr.data.store import DerivedStore, PictureStore, build_store, default_cache
from hkdsr.errors import HkdsrError
from hkdsr.files import claimed
from hkdsr.methods.base import Method
from hkdsr.methods.plain import Plain
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, NetworkWithExits, exit_taps
from hkdsr.nets.initialise import initialise
from hkdsr.nets.load import build, digest, load, save
from hkdsr.recipe import DistillRecipe, ExitSettings, TrainRecipe
from hkdsr.training.checkpoint import FILE, read_checkpoint
from hkdsr.training.distiller import Distiller
from hkdsr.training.distributed import team
from hkdsr.training.fit import TeacherPass, fit, no_teacher, pick_device
from hkdsr.training.legs import Leg
from hkdsr.training.stage1 import check_exits, score_exits, teacher_with_exits
from hkdsr.training.teacher import teacher_outputs
from hkdsr.training.validate import validation

WEIGHTS_FILE = "student.safetensors"
BEST_FILE = "best.safetensors"
SAID_EVERY = 60.0
"""Seconds between two words on a training's progress where no terminal shows a bar."""
TOO_MUCH = 0.1
"""The share of the first weights in the averaged ones from which on it is worth a word."""

Say = Callable[[str], None]
Taught = tuple[TeacherPass, DerivedStore | None]


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


def train(recipe: TrainRecipe, say: Say = lambda text: None) -> TrainingResult:
    """Train a network without a teacher; goes on where a killed run with the same recipe stopped.

    ``say`` receives what a user should read. Raises HkdsrError for every mistake a user can mend. Several processes
    train together within ``hkdsr.training.distributed.joined()``.
    """
    student = _student(recipe)
    origin = _started(recipe, student, None, say)
    module = Distiller(student, None, Plain())
    return _StudentTraining(recipe, module, _store(recipe, say), origin, say).run(no_teacher, None)


def distill(recipe: DistillRecipe, say: Say = lambda text: None, watch: Watch | None = None) -> TrainingResult:
    """Distil ``recipe.teacher`` into ``recipe.student``: stage 1 where the method uses exits, then stage 2.

    Heads and teacher's pictures are kept in the cache by hash, so a second run with the same teacher starts at once;
    a killed run goes on where it stopped. ``say`` receives what a user should read, the exits' scores among it.
    Several processes distil together within ``hkdsr.training.distributed.joined()``.

    Raises HkdsrError for every mistake a user can mend.
    """
    if not recipe.teacher:
        raise HkdsrError("no teacher is given: set teacher to a checkpoint or a shipped network")
    teacher = load(recipe.teacher).requires_grad_(False)
    if teacher.scale != recipe.scale:
        raise HkdsrError(f"the teacher {recipe.teacher} is a x{teacher.scale} network: set scale to {teacher.scale}")
    student = _student(recipe)
    started = _started(recipe, student, teacher, say)
    method = recipe.method.resolved(recipe.scale)
    exits = _student_exits(student, teacher, recipe.exits) if method.uses_exits else None
    teachers = (teacher, *_more_teachers(method, recipe.scale)) if method.uses_teacher else ()
    # Made before stage 1 draws its random numbers, which a resumed run does not draw again.
    module = Distiller(student, exits, method, teachers)
    store = _store(recipe, say)
    origin = {
        "teacher": str(recipe.teacher),
        "teacher_sha256": ", ".join(digest(network.state_dict()) for network in teachers or [teacher]),
        **started,
    }
    training = _StudentTraining(recipe, module, store, origin, say)
    if not method.uses_teacher:
        return training.run(no_teacher, None, watch)
    cache = recipe.data.cache or default_cache()
    device = pick_device(recipe.training.device)
    together = _taught(recipe, teacher, method, store, cache, device, say)
    taught = _taught_in_team(
        lambda choice: teacher_outputs(together, method.feature_depths, store, cache, choice, device),
        recipe.exits.pictures,
    )
    if method.uses_networks:
        for network in teachers:
            network.to(device)
    return training.run(*taught, watch)


def _taught(
    recipe: DistillRecipe,
    teacher: Network,
    method: Method,
    store: PictureStore,
    cache: Path,
    device: torch.device,
    say: Say,
) -> NetworkWithExits:
    if not method.uses_exits:
        return NetworkWithExits(teacher, Exits(teacher, ())).eval().requires_grad_(False)
    together = team().main_first(
        lambda: teacher_with_exits(teacher, store, recipe.exits, recipe.training, recipe.data.patch, cache)
    )
    scores = score_exits(together, store, device)
    say(scores.sentence())
    check_exits(scores, recipe.exits.allow_weak)
    return together


def _taught_in_team(outputs: Callable[[TeacherPictures], Taught], choice: TeacherPictures) -> Taught:
    """The first process fills the cache and decides, by the space on the disk, what ``auto`` means for all."""
    first = outputs(choice) if team().main else None
    cached = team().told(first is not None and first[1] is not None)
    return first or outputs("cached" if cached else "live")


def _more_teachers(method: Method, scale: int) -> list[Network]:
    networks = [load(path).requires_grad_(False) for path in method.more_teachers]
    for path, network in zip(method.more_teachers, networks, strict=True):
        if network.scale != scale:
            raise HkdsrError(f"the teacher {path} is a x{network.scale} network: choose one for x{scale}")
    return networks


def _student(recipe: TrainRecipe | DistillRecipe) -> Network:
    if recipe.training.threads is not None:
        torch.set_num_threads(recipe.training.threads)
    torch.manual_seed(recipe.training.seed)
    student = build(recipe.student, recipe.scale)
    if student.family == "foreign":
        raise HkdsrError(
            f"the student {recipe.student} is of no family here, so it cannot be trained: set student to "
            "family:setting=value,... or to a checkpoint of such a family"
        )
    return student


def _started(
    recipe: TrainRecipe | DistillRecipe, student: Network, teacher: Network | None, say: Say
) -> dict[str, str]:
    """Fill the student; what the run's origin tells of the file that its weights came from."""
    start = initialise(student, recipe.init, teacher, recipe.init_from)
    # On resume the checkpoint's weights take their place.
    if recipe.init != "scratch" and not (recipe.out / FILE).exists():
        say(start.sentence())
    return {"init_sha256": start.sha256} if start.sha256 else {}


def _student_exits(student: Network, teacher: Network, settings: ExitSettings) -> Exits:
    if len(settings.student) != len(settings.teacher):
        raise HkdsrError(
            f"exits.student has {len(settings.student)} depths and exits.teacher {len(settings.teacher)}: "
            "they are matched by position, so give as many of each"
        )
    exit_taps(teacher, settings.teacher)
    return Exits(student, settings.student, settings.kind, settings.tail, settings.start, teacher)


def _store(recipe: TrainRecipe | DistillRecipe, say: Say) -> PictureStore:
    pairs = spread(find_pairs(recipe.data.train, recipe.scale), recipe.data.share)
    store = build_store(pairs, recipe.scale, recipe.data.cache)
    pixels = sum(height * width for height, width in store.sizes)
    say(f"{len(store)} training pictures, {pixels / 1e6:.1f} megapixels")
    return store


class _StudentTraining:
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
        self._fingerprint = {**lasting_settings(recipe), **hashes, "data": store.key}
        self._metadata = {"recipe": json.dumps(settings), "data_sha256": store.key, **origin}
        data = recipe.data
        self._team = team()
        val = data.val if self._team.main else None
        self._validate = validation(val, recipe.scale, data.val_pictures) if val else None
        self._sampler(None)
        pick_device(recipe.training.device)
        found = read_checkpoint(recipe.out / FILE, self._fingerprint)
        self._begun = (found.step, found.seconds) if found else (0, 0.0)
        if found is not None:
            say(f"goes on from step {found.step} in {recipe.out}")
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
            leg = self._leg()
            fitted = fit(
                self._module,
                self._sampler(derived),
                recipe.training,
                recipe.out,
                self._fingerprint,
                teacher,
                self._validate,
                lambda module, step, score: self._write(module, BEST_FILE, {"step": step, "val_psnr_y": score}),
                before_step,
                label=recipe.out.name,
                team=self._team,
            )
            if leg:
                leg.ended(fitted.steps, fitted.seconds - self._begun[1])
            facts = {"step": fitted.steps, "seconds": round(fitted.seconds)}
            weights = self._team.main_first(lambda: self._write(fitted.average, WEIGHTS_FILE, facts))
        assert isinstance(fitted.average, Distiller)
        return TrainingResult(fitted.average.student.cpu().eval(), weights, fitted.steps, fitted.seconds)

    def _leg(self) -> Leg | None:
        """None where nothing is left to do, and in processes that do not write."""
        training, (step, _) = self._recipe.training, self._begun
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
            save(module.student, path, {**self._metadata, **{key: str(value) for key, value in facts.items()}})
        return path
