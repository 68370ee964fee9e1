"""The commands ``train`` and ``distill``: from a recipe to a folder with weights, log and checkpoints."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch

from hkdsr.data.sources import described, find_pairs, spread
from hkdsr.data.store import ImageStore, build_store, default_cache
from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.plain import Plain
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, exit_taps
from hkdsr.nets.files.load import build, digest, load
from hkdsr.nets.start.initialise import initialise
from hkdsr.settings.recipe import DistillRecipe, ExitSettings, TrainRecipe
from hkdsr.training.checkpoint import FILE
from hkdsr.training.context import Context, opened
from hkdsr.training.distiller import Distiller
from hkdsr.training.distributed import process_group
from hkdsr.training.stage1 import teacher_with_exits
from hkdsr.training.student import Observer, StudentTraining, TrainingResult
from hkdsr.training.teacher import Teacher, prepared

logger = logging.getLogger(__name__)


def train(recipe: TrainRecipe) -> TrainingResult:
    """Train a network without a teacher; continues a run with the same recipe that was killed.

    Raises HkdsrError for every mistake that the user can correct. Several processes train together within
    ``hkdsr.training.distributed.joined()``.
    """
    student = _student(recipe)
    origin = _started(recipe, student, None)
    module = Distiller(student, None, Plain())
    training = StudentTraining(recipe, module, _store(recipe), origin)
    with opened(recipe.out, recipe.training, training.fingerprint, recipe.out.name, process_group()) as context:
        _report_start(context)
        return training.run(context)


def distill(recipe: DistillRecipe, observer: Observer | None = None) -> TrainingResult:
    """Distil ``recipe.teacher`` into ``recipe.student``: stage 1 where the method uses exits, then stage 2.

    Heads and the teacher's images are kept in the cache by hash, so a second run with the same teacher starts at once;
    a run that was killed continues where it stopped. Several processes distil together within
    ``hkdsr.training.distributed.joined()``.

    Raises HkdsrError for every mistake that the user can correct.
    """
    if not recipe.teacher:
        raise HkdsrError("no teacher is given: set teacher to a checkpoint or a shipped network")
    network = load(recipe.teacher).requires_grad_(False)
    if network.scale != recipe.scale:
        raise HkdsrError(f"the teacher {recipe.teacher} is a x{network.scale} network: set scale to {network.scale}")
    student = _student(recipe)
    started = _started(recipe, student, network)
    method = recipe.method.resolved(recipe.scale)
    exits = _student_exits(student, network, recipe.exits) if method.uses_exits else None
    networks = (network, *_more_teachers(method, recipe.scale)) if method.uses_teacher else ()
    # Made before stage 1 draws its random numbers, which a continued run does not draw again.
    module = Distiller(student, exits, method, networks)
    store = _store(recipe)
    origin = {
        "teacher": str(recipe.teacher),
        "teacher_sha256": ", ".join(digest(one.state_dict()) for one in networks or [network]),
        **started,
        **_more_hashes(method),
    }
    training = StudentTraining(recipe, module, store, origin)
    with opened(recipe.out, recipe.training, training.fingerprint, recipe.out.name, process_group()) as context:
        _report_start(context)
        teacher = _teacher(recipe, network, method, store, context) if method.uses_teacher else None
        if method.uses_networks:
            for one in networks:
                one.to(context.device)
        return training.run(context, teacher, observer)


def _teacher(recipe: DistillRecipe, network: Network, method: Method, store: ImageStore, context: Context) -> Teacher:
    cache = recipe.data.cache or default_cache()
    with_exits = teacher_with_exits(
        network, store, recipe.exits if method.uses_exits else None, recipe.data.patch, cache, context
    )
    choice = recipe.exits.teacher_images
    return prepared(with_exits, method.feature_depths, store, cache, choice, context.device, context.processes)


def _report_start(context: Context) -> None:
    if context.step:
        logger.info("continuing at step %d in %s", context.step, context.folder)


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
    if not student.trainable:
        raise HkdsrError(
            f"the student {recipe.student} is of no family here, so it cannot be trained: set student to "
            "family:setting=value,... or to a checkpoint of such a family"
        )
    return student


def _started(recipe: TrainRecipe | DistillRecipe, student: Network, teacher: Network | None) -> dict[str, str]:
    """Fill the student; returns what the run's origin says of the file that its weights came from."""
    start = initialise(student, recipe.init, teacher, recipe.init_from)
    # When a run is continued, the checkpoint's weights take their place.
    if recipe.init != "scratch" and not (recipe.out / FILE).exists():
        logger.info("%s", start.sentence())
    return {"init_sha256": start.sha256} if start.sha256 else {}


def _student_exits(student: Network, teacher: Network, settings: ExitSettings) -> Exits:
    if len(settings.student) != len(settings.teacher):
        raise HkdsrError(
            f"exits.student has {len(settings.student)} depths and exits.teacher {len(settings.teacher)}: "
            "they are matched by position, so give as many of each"
        )
    exit_taps(teacher, settings.teacher)
    return Exits(student, settings.student, settings.kind, settings.tail, settings.start, teacher)


def _store(recipe: TrainRecipe | DistillRecipe) -> ImageStore:
    data = recipe.data
    pairs = spread(find_pairs(data.train, recipe.scale, data.lr), data.share)
    store = build_store(pairs, recipe.scale, data.cache)
    pixels = sum(height * width for height, width in store.sizes)
    logger.info("training on %s (%.1f megapixels of HR)", described(pairs), pixels / 1e6)
    small = sum(min(size) // recipe.scale < data.patch for size in store.sizes)
    if small:
        logger.warning(
            "%d of %d images %s smaller than the patch of %d LR pixels and left out",
            small,
            len(store),
            "is" if small == 1 else "are",
            data.patch,
        )
    return store
