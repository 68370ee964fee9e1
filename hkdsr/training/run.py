"""The verbs ``train`` and ``distill``: from a recipe to a folder with weights, log and checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch

from hkdsr.choices import TeacherPictures
from hkdsr.data.sources import find_pairs, spread
from hkdsr.data.store import DerivedStore, PictureStore, build_store, default_cache
from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.plain import Plain
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, NetworkWithExits, exit_taps
from hkdsr.nets.initialise import initialise
from hkdsr.nets.load import build, digest, load
from hkdsr.nets.reparam import expand
from hkdsr.recipe import DistillRecipe, ExitSettings, TrainRecipe
from hkdsr.training.checkpoint import FILE
from hkdsr.training.distiller import Distiller
from hkdsr.training.distributed import team
from hkdsr.training.fit import TeacherPass, no_teacher, pick_device
from hkdsr.training.stage1 import check_exits, score_exits, teacher_with_exits
from hkdsr.training.student import Say, StudentTraining, TrainingResult, Watch
from hkdsr.training.teacher import teacher_outputs

Taught = tuple[TeacherPass, DerivedStore | None]


def train(recipe: TrainRecipe, say: Say = lambda text: None) -> TrainingResult:
    """Train a network without a teacher; goes on where a killed run with the same recipe stopped.

    ``say`` receives what a user should read. Raises HkdsrError for every mistake a user can mend. Several processes
    train together within ``hkdsr.training.distributed.joined()``.
    """
    student = _student(recipe)
    origin = _started(recipe, student, None, say)
    module = Distiller(student, None, Plain())
    return StudentTraining(recipe, module, _store(recipe, say), origin, say).run(no_teacher, None)


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
        **_more_hashes(method),
    }
    training = StudentTraining(recipe, module, store, origin, say)
    if not method.uses_teacher:
        return training.run(no_teacher, None, watch)
    cache = recipe.data.cache or default_cache()
    device = pick_device(recipe.training.device)
    together = _taught(recipe, teacher, method, store, cache, device, say)
    taught = _taught_in_team(
        lambda choice: teacher_outputs(together, method.feature_depths, store, cache, choice, device, say),
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


def _more_hashes(method: Method) -> dict[str, str]:
    try:
        hashes = [hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest() for path in method.more_files]
    except OSError as error:
        raise HkdsrError(f"cannot read {error.filename} ({error.strerror}): check the method's settings") from error
    return {"files_sha256": ", ".join(hashes)} if hashes else {}


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
    """Make the student ready to be trained; what the run's origin tells of the file that its weights came from."""
    start = initialise(student, recipe.init, teacher, recipe.init_from)
    if recipe.training.reparameterise:
        expand(student)
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
