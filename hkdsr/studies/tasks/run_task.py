"""What a task does: score a reference; measure; or train a student, record what that costs, and score the student."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import nullcontext
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import safe_open

from hkdsr.data.store import ImageStore
from hkdsr.devices import pick_device
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import build, digest, load
from hkdsr.nets.files.named import remember
from hkdsr.nets.start.initialise import initialise
from hkdsr.nets.teachers import load_teacher
from hkdsr.scoring import BICUBIC, cost, evaluate_set
from hkdsr.scoring.benchmark import find_benchmark
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.studies.controls import NOT_SLICEABLE
from hkdsr.studies.results import Cost, Result, SetResult, read_result, settings_of, write_result
from hkdsr.studies.study import MEASUREMENT, Study, Task
from hkdsr.studies.tasks.forward_passes import ForwardPassCounter
from hkdsr.studies.tasks.machine import device_name, peak_memory
from hkdsr.studies.tasks.measure import measure
from hkdsr.training.distiller import Distiller
from hkdsr.training.fidelity import FIDELITY
from hkdsr.training.run import distill
from hkdsr.training.stage1 import trains_exits
from hkdsr.training.student import WEIGHTS_FILE
from hkdsr.user_code import code_name

logger = logging.getLogger(__name__)


def run_task(study: Study, task: Task, preparing: FileLock) -> None:
    """Do whatever of a task is not done yet, and write its result.

    ``preparing`` is held while the teacher's exits and images and the pruned start are made, which several tasks share.

    Raises HkdsrError as ``distill`` and ``evaluate_set`` do.
    """
    if task.name == MEASUREMENT:
        measure(study)
        return
    result = read_result(study, task)
    if task.recipe is None:
        network = None if task.name == BICUBIC else _teacher(study)
        if result is None:
            result = Result(settings_of(study, task), {}, {} if network is None else _teacher_facts(study, network))
    else:
        if result is None:
            cost = _train(task.recipe, preparing)
            result = Result(settings_of(study, task), {}, _facts(task.recipe.out / WEIGHTS_FILE), cost)
            # The cost is known only now: a kill during the scoring must not lose it.
            write_result(study, task, result)
        if code := code_name(study.student):
            remember(code)  # the study names it, so that the weights may run it
        network = load(task.recipe.out / WEIGHTS_FILE)
    write_result(study, task, dataclasses.replace(result, sets=_scores(study, network, result.sets)))


class _CostObserver:
    """Counts forward passes, and releases the lock once the teacher is prepared."""

    def __init__(self, counter: ForwardPassCounter, preparing: FileLock) -> None:
        self._counter, self._preparing = counter, preparing

    def begin(self, module: Distiller, stored: ImageStore | None) -> None:
        self._preparing.release()
        self._counter.begin(module, stored)

    def before_step(self, step: int) -> None:
        self._counter.before_step(step)


def _train(recipe: DistillRecipe, preparing: FileLock) -> Cost:
    device = pick_device(recipe.training.device)
    counter = ForwardPassCounter(recipe, device)
    prepares = recipe.method.uses_teacher or recipe.init == "prune"
    with preparing.acquire(timeout=-1) if prepares else nullcontext():
        trained = distill(recipe, _CostObserver(counter, preparing), extend=False)
    student, teacher = counter.averages(trained.steps)
    return Cost(
        trained.steps,
        trained.seconds,
        student,
        teacher,
        counter.cached,
        _exit_passes(recipe),
        peak_memory(device),
        device_name(device, recipe.training.precision),
    )


def _exit_passes(recipe: DistillRecipe) -> float:
    method, exits = recipe.method.resolved(recipe.scale, recipe.init), recipe.exits
    trained = method.uses_teacher and method.uses_exits and trains_exits(exits)
    return exits.stage1_steps * exits.stage1_batch / recipe.training.batch if trained else 0.0


def _scores(study: Study, network: Network | None, known: dict[str, SetResult]) -> dict[str, SetResult]:
    """Scores on every set of the study, those in ``known`` unchanged; a network of None is bicubic enlargement."""
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


def _teacher(study: Study) -> Network:
    return load_teacher(study.teacher, study.scale, study.teacher_taps, study.teacher_reduce)


def _teacher_facts(study: Study, teacher: Network) -> dict[str, str]:
    student = build(study.student, study.scale)
    facts = {"teacher": str(cost(teacher)), "student": str(cost(student))}
    facts["teacher_sha256"] = digest(teacher.state_dict())
    try:
        initialise(student, "slice", teacher)
    except HkdsrError as error:
        return {**facts, NOT_SLICEABLE: str(error)}
    return {**facts, NOT_SLICEABLE: ""}


def _facts(weights: Path) -> dict[str, str]:
    """Hashes of the teacher and the images that a student was trained with, and what the teacher's check found."""
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
    found = {FIDELITY: metadata[FIDELITY]} if FIDELITY in metadata else {}
    return {**{name: metadata[name] for name in ("teacher_sha256", "data_sha256")}, **found}
