"""The functions ``train`` and ``distill``: from a recipe to a folder with weights, log and checkpoints."""

from __future__ import annotations

import logging

from hkdsr.data.store import default_cache
from hkdsr.errors import HkdsrError
from hkdsr.methods.plain import Plain
from hkdsr.nets.files.load import digest
from hkdsr.nets.start.heads import solve_heads
from hkdsr.paths import require_writable
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.training.distiller import Distiller
from hkdsr.training.fidelity import check_teacher
from hkdsr.training.images import image_store
from hkdsr.training.networks import (
    assembled,
    code_hash,
    first_weights,
    has_better_start,
    loaded_teacher,
    name_given,
    new_student,
    pruned_from,
)
from hkdsr.training.origin import content_hashes, teacher_licence
from hkdsr.training.pruned import start_pruned
from hkdsr.training.run_folder import opened_run
from hkdsr.training.start_crops import start_crops
from hkdsr.training.student import Observer, StudentTraining, TrainingResult
from hkdsr.training.student_by_budget import with_chosen_student
from hkdsr.training.teacher_for import teacher_for

logger = logging.getLogger(__name__)


def train(recipe: TrainRecipe) -> TrainingResult:
    """Train a network without a teacher; a run that was killed continues where it stopped.

    A run may also be continued with other ``training.steps`` and ``training.milestones``; the steps still to do then
    have the learning rate of a training with the new values.

    Several processes train together within ``hkdsr.training.distributed.joined()``.

    Raises HkdsrError for every mistake that the user can correct.
    """
    require_writable(recipe.out, folder=True)
    recipe = with_chosen_student(recipe)
    student = new_student(recipe)
    origin = {**first_weights(recipe, student, None), **code_hash(student)}
    module = Distiller(student, None, Plain())
    training = StudentTraining(recipe, module, image_store(recipe), origin)
    with opened_run(recipe, training, extend=True) as context:
        return training.run(context)


def distill(recipe: DistillRecipe, observer: Observer | None = None, *, extend: bool = True) -> TrainingResult:
    """Distil ``recipe.teacher`` into ``recipe.student``: stage 1 if the method uses exits, then stage 2.

    Heads and the teacher's images are kept in the cache by hash, so a second run with the same teacher starts at once.
    A run that was killed continues where it stopped. With ``extend`` it may also be continued with other
    ``training.steps`` and ``training.milestones``; the steps still to do then have the learning rate of a training
    with the new values.

    Several processes distil together within ``hkdsr.training.distributed.joined()``.

    Raises HkdsrError for every mistake that the user can correct.
    """
    require_writable(recipe.out, folder=True)
    if recipe.students:
        raise HkdsrError("students is set, which one run cannot train: call hkdsr.distill_sizes or leave students out")
    network = loaded_teacher(recipe)
    recipe = with_chosen_student(recipe, lambda: pruned_from(recipe, network))
    parts = assembled(recipe, network)
    method, store = parts.method, image_store(recipe)
    further = zip(method.more_teachers, parts.networks[1:], strict=False)
    origin = {
        "teacher": name_given(recipe.teacher),
        "teacher_sha256": digest(network.state_dict()),
        **teacher_licence(recipe.teacher),
        **parts.started,
        **code_hash(parts.module.student),
        **content_hashes(recipe, {name: digest(one.state_dict()) for name, one in further}),
    }
    training = StudentTraining(recipe, parts.module, store, origin, network)
    with opened_run(recipe, training, extend=extend) as context:
        cache = recipe.data.cache or default_cache()
        name = name_given(recipe.teacher)
        checked = check_teacher(recipe, network, name, store, context) if method.uses_teacher else None
        target = network if checked and checked.is_target else None
        if checked:
            training.metadata.update(checked.facts)  # those of the context too
        if target:
            training.learns_from(target)
        if extend and context.found is None and has_better_start(recipe, parts):  # studies and the demo have such rows
            logger.info("the student could be pruned out of its teacher: init = 'prune' is a better start")
        if recipe.init == "prune" and context.found is None:
            start_pruned(parts.module.student, parts.source, store, cache, context.processes, target, recipe.degrade)
        if parts.module.exits and recipe.exits.start == "solved" and context.found is None:
            crops = start_crops(store, target, recipe.degrade)
            solve_heads(parts.module.student.eval(), parts.module.exits, crops.lr, crops.hr)
        teacher = None
        if method.uses_teacher:
            teacher = teacher_for(recipe, network, method, store, cache, context, target is not None)
        parts.move_networks(context.device)
        return training.run(context, teacher, observer)
