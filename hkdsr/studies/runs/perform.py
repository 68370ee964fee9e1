"""What a task consists of: a reference is scored; a student is trained, its cost taken down, and then scored."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import nullcontext
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import safe_open

from hkdsr.studies.controls import NOT_SLICEABLE
from hkdsr.studies.runs.costs import PassCounter, device_name, peak_memory
from hkdsr.studies.results import Cost, SetResult, Result, read_result, settings_of, write_result
from hkdsr.studies.study import Study, Task
from hkdsr.data.store import ImageStore
from hkdsr.errors import HkdsrError
from hkdsr.scoring import BICUBIC, cost, evaluate_set
from hkdsr.scoring.benchmark import find_benchmark
from hkdsr.nets.base import Network
from hkdsr.nets.start.initialise import initialise
from hkdsr.nets.files.load import build, digest, load
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.distiller import Distiller
from hkdsr.devices import pick_device
from hkdsr.training.run import distill
from hkdsr.training.student import WEIGHTS_FILE

logger = logging.getLogger(__name__)


def perform(study: Study, task: Task, preparing: FileLock) -> None:
    """Do what is not done yet of a task, and write its result.

    ``preparing`` is held while the teacher's exits and images are made, which several tasks share.

    Raises HkdsrError as ``distill`` and ``evaluate_set`` do.
    """
    before = read_result(study, task)
    if task.recipe is None:
        network = None if task.name == BICUBIC else load(study.teacher)
        if before is None:
            before = Result(settings_of(study, task), {}, {} if network is None else _facts(study, network))
    else:
        if before is None:
            cost = _train(task.recipe, preparing)
            before = Result(settings_of(study, task), {}, _origin(task.recipe.out / WEIGHTS_FILE), cost)
            # What it cost is known only now: a kill while it is scored must not lose it.
            write_result(study, task, before)
        network = load(task.recipe.out / WEIGHTS_FILE)
    write_result(study, task, dataclasses.replace(before, sets=_scores(study, network, before.sets)))


class _Watcher:
    """Counts passes, and frees the lock once the training is prepared."""

    def __init__(self, counter: PassCounter, preparing: FileLock) -> None:
        self._counter, self._preparing = counter, preparing

    def begin(self, module: Distiller, stored: ImageStore | None) -> None:
        self._preparing.release()
        self._counter.begin(module, stored)

    def before_step(self, step: int) -> None:
        self._counter.before_step(step)


def _train(recipe: DistillRecipe, preparing: FileLock) -> Cost:
    device = pick_device(recipe.training.device)
    counter = PassCounter(recipe, device)
    with preparing.acquire(timeout=-1) if recipe.method.uses_teacher else nullcontext():
        trained = distill(recipe, _Watcher(counter, preparing))
    student, teacher = counter.averages(trained.steps)
    return Cost(
        trained.steps,
        trained.seconds,
        student,
        teacher,
        counter.cached,
        _exit_passes(recipe),
        peak_memory(device),
        device_name(device),
    )


def _exit_passes(recipe: DistillRecipe) -> float:
    method, exits = recipe.method.resolved(recipe.scale), recipe.exits
    taught = method.uses_teacher and method.uses_exits
    # Heads that are the network's own tail have nothing to be trained, unless all of it is.
    trained = taught and (exits.kind == "separate" or exits.stage1_trainable == "all")
    return exits.stage1_steps * exits.stage1_batch / recipe.training.batch if trained else 0.0


def _scores(study: Study, network: Network | None, known: dict[str, SetResult]) -> dict[str, SetResult]:
    """Of every set of the study, those ``known`` as they are; None is bicubic enlargement."""
    if study.training.threads is not None:
        torch.set_num_threads(study.training.threads)
    missing = [name for name in study.sets if name not in known]
    for name in missing:
        find_benchmark(study.root / name, study.scale)
    if network is not None:
        network.to(pick_device(study.training.device))
    scores = dict(known)
    for name in missing:
        found = evaluate_set(network, study.root / name, study.scale)
        columns = zip(*((image.name, image.psnr_y, image.ssim_y) for image in found.images), strict=True)
        scores[name] = SetResult(found.protocol, *columns)
        logger.info("%s: PSNR-Y %.3f dB, SSIM-Y %.4f", name, found.psnr_y, found.ssim_y)
    return scores


def _facts(study: Study, teacher: Network) -> dict[str, str]:
    student = build(study.student, study.scale)
    facts = {"teacher": str(cost(teacher)), "student": str(cost(student))}
    facts["teacher_sha256"] = digest(teacher.state_dict())
    try:
        initialise(student, "slice", teacher)
    except HkdsrError as error:
        return {**facts, NOT_SLICEABLE: str(error)}
    return {**facts, NOT_SLICEABLE: ""}


def _origin(weights: Path) -> dict[str, str]:
    """Hashes of what a student was made from, as its file tells them."""
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
    return {name: metadata[name] for name in ("teacher_sha256", "data_sha256")}
