"""Several sizes of a student from one recipe: the largest first, each smaller one out of the one before it."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.nets.base import Network, parameter_count
from hkdsr.nets.files.load import build
from hkdsr.nets.start.prune.prune import check_prunable
from hkdsr.paths import exists, require_writable
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.student_budget import folder_name, is_budget, read_budget
from hkdsr.training.checkpoint import FILE as CHECKPOINT
from hkdsr.training.distributed import process_group
from hkdsr.training.log import TO_HR, TO_TEACHER, read_log
from hkdsr.training.networks import loaded_teacher, pruned_from
from hkdsr.training.run import distill
from hkdsr.training.student import TrainingResult
from hkdsr.training.student_by_budget import StudentSearch, kept_choice
from hkdsr.training.student_grid import CUTS, SHAPES

logger = logging.getLogger(__name__)

LARGER_FILE = "larger.safetensors"
"""The next larger student as it was when the smaller one in this folder was pruned out of it."""


@dataclass(frozen=True)
class Size:
    """One of the students: what it was called in ``students``, its description, and its training so far.

    ``val_psnr_y`` and ``val_psnr_y_to_teacher`` are its PSNR-Y in dB on the images of ``data.val`` to HR and to the
    teacher's images. None where the training does not measure it, and before its last step.
    """

    name: str
    student: str
    result: TrainingResult
    val_psnr_y: float | None
    val_psnr_y_to_teacher: float | None


def distill_sizes(recipe: DistillRecipe) -> list[Size]:
    """Distil ``recipe.teacher`` into every one of ``recipe.students``, each in a folder of its own in ``recipe.out``.

    The largest starts as ``recipe.init`` says. Each of the others is pruned out of the next larger one once that is
    trained, or starts as ``recipe.init`` says too where its family does not allow this. The teacher is the same for
    all, and its images and exits are made once.

    Runs that were killed continue, and those that have ended are not trained again. ``training.minutes`` holds for all
    together: the sizes trained by then are returned, the last of them perhaps not to its end.

    Raises HkdsrError for every mistake that the user can correct.
    """
    require_writable(recipe.out, folder=True)
    if not recipe.students:
        raise HkdsrError("students is empty: name at least one size, as 'tiny,small,base'")
    students = kept_choice(recipe.out, recipe.students, lambda: _chosen(recipe))
    begun = time.monotonic()
    sizes: list[Size] = []
    for name, part in _recipes(recipe, students):
        left = _minutes_left(recipe, begun)
        if sizes and (left == 0 or sizes[-1].result.steps < recipe.training.steps):
            break
        if part.init_from and part.init_from != recipe.init_from:
            _keep_larger(sizes[-1].result.weights, part.init_from)
        logger.info("size %s: %s in %s", name, part.student, part.out)
        training = dataclasses.replace(part.training, minutes=left)
        result = distill(dataclasses.replace(part, training=training))
        scores = _scores(part, result)
        sizes.append(Size(name, students[name], result, scores.get(TO_HR), scores.get(TO_TEACHER)))
    return sizes


def table(sizes: Sequence[Size]) -> Iterator[str]:
    """Lines with the name, student, parameters and steps of every size, and those scores that were measured."""
    names, students = (max(map(len, texts)) + 2 for texts in zip(*((s.name, s.student) for s in sizes), strict=True))
    scores = {"PSNR-Y": [s.val_psnr_y for s in sizes], "to teacher": [s.val_psnr_y_to_teacher for s in sizes]}
    columns = {title: found for title, found in scores.items() if any(score is not None for score in found)}
    yield f"{'size':<{names}}{'student':<{students}}{'params':>11}{'steps':>9}{''.join(map('{:>12}'.format, columns))}"
    for size, *found in zip(sizes, *columns.values(), strict=True):
        params = f"{parameter_count(size.result.network) / 1e3:,.1f} K"
        shown = "".join(f"{'' if score is None else f'{score:.2f}':>12}" for score in found)
        yield f"{size.name:<{names}}{size.student:<{students}}{params:>11}{size.result.steps:>9,}{shown}"


def _recipes(recipe: DistillRecipe, students: Mapping[str, str]) -> Iterator[tuple[str, DistillRecipe]]:
    """The recipe of every size, the largest first; a smaller one's ``init_from`` is where the larger one is kept."""
    larger: Network | None = None
    for name, student in students.items():
        own = dataclasses.replace(recipe, student=student, students=(), budget=None, out=recipe.out / folder_name(name))
        network = build(student, recipe.scale)
        if larger is not None and _prunable(network, larger):
            own = dataclasses.replace(own, init="prune", init_from=own.out / LARGER_FILE)
        elif larger is not None:
            logger.info("%s cannot be pruned out of the larger size and starts from %s", name, recipe.init)
        larger = network
        yield name, own


def _prunable(student: Network, larger: Network) -> bool:
    try:
        check_prunable(student, larger)
    except HkdsrError:
        return False
    return True


def _keep_larger(weights: Path, kept: Path) -> None:
    """Copy the larger student once: it may be trained further, but where the smaller one began must not change."""

    if process_group().main and not exists(kept.with_name(CHECKPOINT)):
        write_atomically(kept, weights.read_bytes())
    process_group().wait()


def _minutes_left(recipe: DistillRecipe, begun: float) -> float | None:
    minutes = recipe.training.minutes
    if minutes is None:
        return None
    return process_group().agreed(max(minutes - (time.monotonic() - begun) / 60, 0.0))


def _scores(recipe: DistillRecipe, result: TrainingResult) -> dict[str, float]:
    """What its training logged at its last step."""
    lines = read_log(recipe.out) if recipe.data.val else []
    last = [line for line in lines if line["step"] == result.steps]
    return {name: line[name] for line in last for name in (TO_HR, TO_TEACHER) if name in line}


def _chosen(recipe: DistillRecipe) -> dict[str, str]:
    """The student of every size by its name, the largest first.

    Those that a budget decides are chosen twice: first to know their order, then so that each can be pruned out of the
    next larger one.
    """
    search = StudentSearch(recipe.scale, recipe.training)
    budgets = {name: read_budget("students", name) for name in recipe.students if is_budget(name)}
    source = pruned_from(recipe, loaded_teacher(recipe)) if budgets and recipe.init in CUTS else None

    def params(name: str) -> int:
        if name in budgets:
            return search.largest(budgets[name], recipe.init, source).chosen.params
        return parameter_count(build(name, recipe.scale))

    students: dict[str, str] = {}
    larger: Network | None = None
    for name in sorted(recipe.students, key=params, reverse=True):
        students[name] = name
        if name in budgets:
            if larger is not None and larger.family in SHAPES:
                choice = search.largest(budgets[name], "prune", larger)
            else:
                choice = search.largest(budgets[name], recipe.init, source)
            for line in choice.lines():
                logger.info("%s", line)
            students[name] = choice.chosen.student
        larger = build(students[name], recipe.scale)
    return students
