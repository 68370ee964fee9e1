"""The verbs ``train`` and ``distill``: from a recipe to a folder with weights, log and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hkdsr.config import flat_settings
from hkdsr.data.crops import CropSampler
from hkdsr.data.sources import find_pairs
from hkdsr.data.store import DerivedStore, PictureStore, build_store, default_cache
from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.plain import Plain
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, NetworkWithExits, exit_taps
from hkdsr.nets.load import build, digest, load, save
from hkdsr.recipe import DistillRecipe, ExitSettings, TrainRecipe
from hkdsr.training.distiller import Distiller
from hkdsr.training.fit import TeacherPass, fit, pick_device
from hkdsr.training.stage1 import check_exits, score_exits, teacher_with_exits
from hkdsr.training.teacher import teacher_pictures
from hkdsr.training.validate import validation

WEIGHTS_FILE = "student.safetensors"
BEST_FILE = "best.safetensors"
# Settings that change neither the weights a step produces nor their meaning; everything else must match on resume.
FREE_ON_RESUME = ("out", "data.cache", "data.val", "training.device", "training.log_every", "training.save_every")
FREE_ON_RESUME += ("training.validate_every", "training.tensorboard", "data.val_pictures", "training.threads")

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: the averaged student in eval mode, where its weights lie, steps done and seconds of training."""

    network: Network
    weights: Path
    steps: int
    seconds: float


def train(recipe: TrainRecipe, say: Say = lambda text: None) -> TrainingResult:
    """Train a network without a teacher; goes on where a killed run with the same recipe stopped.

    ``say`` receives what a user should read. Raises HkdsrError for every mistake a user can mend.
    """
    torch.manual_seed(recipe.training.seed)
    student = build(recipe.student, recipe.scale)
    store = _store(recipe, say)
    return _fit_student(recipe, student, None, Plain(), store, None, lambda batch: None, {})


def distill(recipe: DistillRecipe, say: Say = lambda text: None) -> TrainingResult:
    """Distil ``recipe.teacher`` into ``recipe.student``: stage 1 where the method uses exits, then stage 2.

    Heads and teacher's pictures are kept in the cache by hash, so a second run with the same teacher starts at once;
    a killed run goes on where it stopped. ``say`` receives what a user should read, the exits' scores among it.

    Raises HkdsrError for every mistake a user can mend.
    """
    if not recipe.teacher:
        raise HkdsrError("no teacher is given: set teacher to a checkpoint or a shipped network")
    teacher = load(recipe.teacher)
    if teacher.scale != recipe.scale:
        raise HkdsrError(f"the teacher {recipe.teacher} is a x{teacher.scale} network: set scale to {teacher.scale}")
    torch.manual_seed(recipe.training.seed)
    student = build(recipe.student, recipe.scale)
    method = recipe.method.resolved(recipe.scale)
    exits = _student_exits(student, teacher, recipe.exits) if method.uses_exits else None
    store = _store(recipe, say)
    cache = recipe.data.cache or default_cache()
    device = pick_device(recipe.training.device)
    teacher_pass: TeacherPass = lambda batch: None  # noqa: E731
    derived: DerivedStore | None = None
    if method.uses_teacher:
        together = _taught(recipe, teacher, method, store, cache, device, say)
        teacher_pass, derived = teacher_pictures(together, store, cache, recipe.exits.pictures, device)
    origin = {"teacher": str(recipe.teacher), "teacher_sha256": digest(teacher.state_dict())}
    return _fit_student(recipe, student, exits, method, store, derived, teacher_pass, origin)


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
    together = teacher_with_exits(teacher, store, recipe.exits, recipe.training, recipe.data.patch, cache)
    scores = score_exits(together, store, device)
    say(scores.sentence())
    check_exits(scores, recipe.exits.allow_weak)
    return together


def _student_exits(student: Network, teacher: Network, settings: ExitSettings) -> Exits:
    if len(settings.student) != len(settings.teacher):
        raise HkdsrError(
            f"exits.student has {len(settings.student)} depths and exits.teacher {len(settings.teacher)}: "
            "they are matched by position, so give as many of each"
        )
    exit_taps(teacher, settings.teacher)
    return Exits(student, settings.student, settings.kind, settings.tail, settings.start, teacher)


def _store(recipe: TrainRecipe | DistillRecipe, say: Say) -> PictureStore:
    pairs = find_pairs(recipe.data.train, recipe.scale)
    store = build_store(pairs, recipe.scale, recipe.data.cache)
    pixels = sum(height * width for height, width in store.sizes)
    say(f"{len(store)} training pictures, {pixels / 1e6:.1f} megapixels")
    return store


def _fit_student(
    recipe: TrainRecipe | DistillRecipe,
    student: Network,
    exits: Exits | None,
    method: Method,
    store: PictureStore,
    derived: DerivedStore | None,
    teacher_pass: TeacherPass,
    origin: dict[str, str],
) -> TrainingResult:
    sampler = CropSampler(store, recipe.data.patch, recipe.training.batch, recipe.training.seed, derived)
    settings = {key: value for key, value in flat_settings(recipe).items() if key not in FREE_ON_RESUME}
    fingerprint = {**settings, **origin, "data": store.key}
    metadata = {"recipe": json.dumps(settings), "data_sha256": store.key, **origin}

    def write(module: nn.Module, name: str, facts: dict[str, Any]) -> Path:
        assert isinstance(module, Distiller)
        path = recipe.out / name
        save(module.student, path, {**metadata, **{key: str(value) for key, value in facts.items()}})
        return path

    fitted = fit(
        Distiller(student, exits, method),
        sampler,
        recipe.training,
        recipe.out,
        fingerprint,
        teacher_pass,
        validation(recipe.data.val, recipe.scale, recipe.data.val_pictures) if recipe.data.val else None,
        lambda module, step, score: write(module, BEST_FILE, {"step": step, "val_psnr_y": score}) and None,
        label=recipe.out.name,
    )
    weights = write(fitted.average, WEIGHTS_FILE, {"step": fitted.steps, "seconds": round(fitted.seconds)})
    assert isinstance(fitted.average, Distiller)
    return TrainingResult(fitted.average.student.cpu().eval(), weights, fitted.steps, fitted.seconds)
