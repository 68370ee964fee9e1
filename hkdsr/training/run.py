"""The functions ``train`` and ``distill``: from a recipe to a folder with weights, log and checkpoints."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hkdsr.data.store import ImageStore, default_cache
from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.plain import Plain
from hkdsr.nets.base import SCALES, Network
from hkdsr.nets.exits import Exits, NetworkWithExits, exit_taps
from hkdsr.nets.files.load import build, digest, load
from hkdsr.nets.sanity import name_of
from hkdsr.nets.start.heads import solve_heads
from hkdsr.nets.start.initialise import initialise
from hkdsr.nets.start.prune.prune import check_prunable
from hkdsr.nets.teachers import as_teacher
from hkdsr.nets.wrap import wrap
from hkdsr.paths import require_writable
from hkdsr.settings.recipe import DistillRecipe, ExitSettings, TrainRecipe
from hkdsr.training import schedule
from hkdsr.training.checkpoint import FILE
from hkdsr.training.context import Context
from hkdsr.training.distiller import Distiller
from hkdsr.training.fidelity import check_teacher
from hkdsr.training.images import image_store
from hkdsr.training.origin import content_hashes, teacher_licence
from hkdsr.training.pruned import start_pruned
from hkdsr.training.run_folder import opened_run
from hkdsr.training.stage1 import Stage1Images, teacher_with_exits
from hkdsr.training.start_crops import start_crops
from hkdsr.training.student import Observer, StudentTraining, TrainingResult
from hkdsr.training.student_by_budget import with_chosen_student
from hkdsr.training.teacher import Teacher, prepared

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
    student = _student(recipe)
    origin = {**_started(recipe, student, None), **_code_hash(student)}
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
        **_code_hash(parts.module.student),
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
        if recipe.init == "prune" and context.found is None:
            start_pruned(parts.module.student, parts.source, store, cache, context.processes, target, recipe.degrade)
        if parts.module.exits and recipe.exits.start == "solved" and context.found is None:
            crops = start_crops(store, target, recipe.degrade)
            solve_heads(parts.module.student.eval(), parts.module.exits, crops.lr, crops.hr)
        teacher = None
        if method.uses_teacher:
            teacher = _teacher(recipe, network, method, store, cache, context, target is not None)
        parts.move_networks(context.device)
        return training.run(context, teacher, observer)


@dataclass(frozen=True)
class Assembled:
    """The networks of a distillation, put together.

    ``method`` is resolved for the scale, ``networks`` are the frozen teachers, none for a method without one,
    ``source`` is what the student is cut out of if ``init`` does that, and ``started`` is metadata on the file that the
    student's first weights come from.
    """

    method: Method
    module: Distiller
    networks: tuple[Network, ...]
    source: Network
    started: dict[str, str]

    def move_networks(self, device: torch.device) -> None:
        """Move the teachers, where the method runs them itself."""
        if self.method.uses_networks:
            for one in self.networks:
                one.to(device)


def assembled(recipe: DistillRecipe, network: Network) -> Assembled:
    """Student, exits, method and heads of ``recipe``, whose teacher is ``network``; sets the CPU threads and the seed.

    Raises HkdsrError for networks that do not suit each other, the method or the exits.
    """
    student = _student(recipe)
    source = pruned_from(recipe, network)
    started = _started(recipe, student, source)
    method = recipe.method.resolved(recipe.scale, recipe.init)
    exits = _student_exits(student, network, recipe.exits) if method.uses_exits else None
    further = _more_teachers(method, recipe.scale)
    networks = (network, *(further[name] for name in method.more_teachers)) if method.uses_teacher else ()
    # Made before stage 1, which draws random numbers only if its heads are not in the cache.
    module = Distiller(student, exits, method, networks, schedule.method_schedule(recipe))
    return Assembled(method, module, networks, source, started)


def loaded_teacher(recipe: DistillRecipe) -> Network:
    """The recipe's teacher, frozen, with the taps and the scale that the recipe gives it.

    Raises HkdsrError if it is missing, damaged or of another scale, or has no such taps.
    """
    reduce, name = recipe.teacher_reduce, name_given(recipe.teacher)
    network = as_teacher(_loaded(recipe.teacher, recipe.scale * reduce), name, recipe.teacher_taps, reduce)
    if network.scale != recipe.scale:
        reduced, factor = (f" (reduced by {reduce})", 0) if reduce > 1 else ("", network.scale // recipe.scale)
        other = f"teacher_reduce to {factor}" if factor > 1 and factor * recipe.scale == network.scale else ""
        remedies = (
            (f"set scale to {network.scale}", other)
            if network.scale in SCALES
            else ("choose another one", other and f"set {other}")
        )
        remedy = ", or ".join(filter(None, remedies))
        raise HkdsrError(f"the teacher {name}{reduced} is a x{network.scale} network: {remedy}")
    return network


def name_given(given: str | Path | nn.Module) -> str:
    """What to call a network of a recipe in a message."""
    if isinstance(given, nn.Module):
        return name_of(given) if isinstance(given, Network) else type(given).__name__
    return str(given)


def _own_copy(given: nn.Module) -> Network:
    """A copy, as it is frozen or trained, and moved; what is not made of modules can neither be copied nor trained."""
    if isinstance(given, Network) and not given.runs_in_pytorch:
        return given
    return wrap(copy.deepcopy(given)).eval()


def _loaded(given: object, scale: int) -> Network:
    if isinstance(given, nn.Module):
        return _own_copy(given).requires_grad_(False)
    if not isinstance(given, str | Path) and given is not None:
        raise HkdsrError(
            f"teacher is an object of the type {type(given).__name__}: set it to a file, the name of a shipped "
            "network, or a torch.nn.Module"
        )
    if not given:
        raise HkdsrError("no teacher is given: set teacher to a checkpoint or a shipped network")
    return load(given, scale).requires_grad_(False)


def exits_of_teacher(
    recipe: DistillRecipe, network: Network, uses_exits: bool, store: ImageStore, context: Context, is_target: bool
) -> NetworkWithExits:
    """The teacher with the recipe's exits, if the method uses them, trained where they are not in the cache."""
    images = Stage1Images(store, recipe.data.patch, recipe.degrade, is_target)
    cache = recipe.data.cache or default_cache()
    return teacher_with_exits(network, images, recipe.exits if uses_exits else None, cache, context)


def _teacher(
    recipe: DistillRecipe,
    network: Network,
    method: Method,
    store: ImageStore,
    cache: Path,
    context: Context,
    is_target: bool,
) -> Teacher:
    with_exits = exits_of_teacher(recipe, network, method.uses_exits, store, context, is_target)
    return prepared(
        with_exits,
        method.feature_depths,
        store,
        cache,
        "live" if recipe.degrade.live else recipe.exits.teacher_images,
        context.device,
        context.processes,
        is_target,
        context.settings.precision,
        method.strides,
    )


def _more_teachers(method: Method, scale: int) -> dict[str, Network]:
    networks = {path: load(path, scale).requires_grad_(False) for path in method.more_teachers}
    for path, network in networks.items():
        if network.scale != scale:
            raise HkdsrError(f"the teacher {path} is a x{network.scale} network: choose one for x{scale}")
    return networks


def _code_hash(student: Network) -> dict[str, str]:
    """The hash of the student's code, where that is the user's: a run is continued with the same code only."""
    return {"student_sha256": student.identity} if student.identity else {}


def _student(recipe: TrainRecipe | DistillRecipe) -> Network:
    if recipe.training.threads is not None:
        torch.set_num_threads(recipe.training.threads)
    torch.manual_seed(recipe.training.seed)
    given = recipe.student
    student = _own_copy(given) if isinstance(given, nn.Module) else build(given, recipe.scale)
    if student.scale != recipe.scale:
        remedy = f"set scale to {student.scale}" if student.scale in SCALES else "choose another one"
        raise HkdsrError(f"the student {name_given(given)} is a x{student.scale} network: {remedy}")
    if not student.trainable:
        raise HkdsrError(
            f"the student {name_given(given)} belongs to no family of this package, so it cannot be trained: set "
            "student to family:setting=value,..., to a checkpoint of such a family, or to code, as net.py:Net"
        )
    student.require_learns()
    return student


def _started(recipe: TrainRecipe | DistillRecipe, student: Network, source: Network | None) -> dict[str, str]:
    """Set the student's first weights; returns metadata on the file that they come from."""
    if recipe.init == "prune":
        assert source is not None
        check_prunable(student, source)  # the start itself needs the training images
        return {"init_from_sha256": digest(source.state_dict())} if recipe.init_from else {}
    start = initialise(student, recipe.init, source, recipe.init_from)
    # No message for a continued run, which takes its weights from the checkpoint.
    if recipe.init != "scratch" and not (recipe.out / FILE).exists():
        logger.info("%s", start.sentence())
    return {"init_from_sha256": start.sha256} if start.sha256 else {}


def pruned_from(recipe: DistillRecipe, teacher: Network) -> Network:
    """The network that the student is cut out of: the teacher, or if ``init`` is ``prune`` that of ``init_from``."""
    return load(recipe.init_from).requires_grad_(False) if recipe.init == "prune" and recipe.init_from else teacher


def _student_exits(student: Network, teacher: Network, settings: ExitSettings) -> Exits:
    if len(settings.student) != len(settings.teacher):
        raise HkdsrError(
            f"exits.student has {len(settings.student)} depths and exits.teacher {len(settings.teacher)}: "
            "they are matched by position, so give as many of each"
        )
    exit_taps(teacher, settings.teacher)
    return Exits(student, settings.student, settings.kind, settings.tail, settings.start, teacher)
