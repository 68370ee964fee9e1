"""The networks of a training: the teacher and the student, loaded or built, and put together with exits and method."""

from __future__ import annotations

import copy
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.nets import FAMILIES
from hkdsr.nets.base import SCALES, Network
from hkdsr.nets.exits import Exits, exit_taps
from hkdsr.nets.files.load import build, digest, load
from hkdsr.nets.sanity import name_of
from hkdsr.nets.start.initialise import initialise
from hkdsr.nets.start.prune.prune import check_prunable
from hkdsr.nets.teachers import as_teacher
from hkdsr.nets.wrap import wrap
from hkdsr.settings.recipe import DistillRecipe, ExitSettings, TrainRecipe
from hkdsr.training import schedule
from hkdsr.training.checkpoint import FILE
from hkdsr.training.distiller import Distiller

logger = logging.getLogger(__name__)


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
    student = new_student(recipe)
    source = pruned_from(recipe, network)
    started = first_weights(recipe, student, source)
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


def pruned_from(recipe: DistillRecipe, teacher: Network) -> Network:
    """The network that the student is cut out of: the teacher, or if ``init`` is ``prune`` that of ``init_from``."""
    return load(recipe.init_from).requires_grad_(False) if recipe.init == "prune" and recipe.init_from else teacher


def name_given(given: str | Path | nn.Module) -> str:
    """What to call a network of a recipe in a message."""
    if isinstance(given, nn.Module):
        return name_of(given) if isinstance(given, Network) else type(given).__name__
    return str(given)


def new_student(recipe: TrainRecipe | DistillRecipe) -> Network:
    """The recipe's student with random weights, or those of its file; sets the CPU threads and the seed.

    Raises HkdsrError for a student of another scale, and for one that cannot be trained.
    """
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


def first_weights(recipe: TrainRecipe | DistillRecipe, student: Network, source: Network | None) -> dict[str, str]:
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


def has_better_start(recipe: DistillRecipe, parts: Assembled) -> bool:
    """Whether a student of random weights could be pruned out of its teacher. No random number is drawn."""
    if recipe.init != "scratch" or not is_description(recipe.student):
        return False
    with torch.random.fork_rng(devices=[]), suppress(HkdsrError):  # the check draws random weights
        check_prunable(parts.module.student, parts.source)
        return True
    return False


def is_description(student: object) -> bool:
    """Whether it describes a network of random weights, as ``compact:features=32``."""
    return str(student).partition(":")[0] in FAMILIES


def code_hash(student: Network) -> dict[str, str]:
    """The hash of the student's code, where that is the user's: a run is continued with the same code only."""
    return {"student_sha256": student.identity} if student.identity else {}


def _student_exits(student: Network, teacher: Network, settings: ExitSettings) -> Exits:
    if len(settings.student) != len(settings.teacher):
        raise HkdsrError(
            f"exits.student has {len(settings.student)} depths and exits.teacher {len(settings.teacher)}: "
            "they are matched by position, so give as many of each"
        )
    exit_taps(teacher, settings.teacher)
    return Exits(student, settings.student, settings.kind, settings.tail, settings.start, teacher)


def _more_teachers(method: Method, scale: int) -> dict[str, Network]:
    networks = {path: load(path, scale).requires_grad_(False) for path in method.more_teachers}
    for path, network in networks.items():
        if network.scale != scale:
            raise HkdsrError(f"the teacher {path} is a x{network.scale} network: choose one for x{scale}")
    return networks


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


def _own_copy(given: nn.Module) -> Network:
    """A copy, as it is frozen or trained, and moved; what is not made of modules can neither be copied nor trained."""
    if isinstance(given, Network) and not given.runs_in_pytorch:
        return given
    return wrap(copy.deepcopy(given)).eval()
