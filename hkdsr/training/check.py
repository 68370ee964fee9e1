"""Finding the mistakes in a recipe before anything is trained, decoded or written."""

from __future__ import annotations

from pathlib import Path

from hkdsr.data.sources import described
from hkdsr.devices import pick_device
from hkdsr.methods import method_name
from hkdsr.nets.base import Network, parameter_count
from hkdsr.nets.sanity import name_of
from hkdsr.paths import require_writable
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.resume import lasting_settings
from hkdsr.training.checkpoint import FILE, read_checkpoint
from hkdsr.training.images import image_pairs
from hkdsr.training.networks import assembled, loaded_teacher
from hkdsr.training.requirements import require_suitable
from hkdsr.training.schedule import SETTINGS
from hkdsr.training.student_by_budget import with_chosen_student
from hkdsr.training.validate import Validation


def check(recipe: DistillRecipe) -> list[str]:
    """What ``distill`` refuses at its start is refused here too; returns lines on what would be trained.

    Training images are found but not decoded, and the teacher's images are not looked at: damaged images and a broken
    teacher show when the distillation starts. A student by budget is not chosen. Sets the CPU threads and the seed.

    Raises HkdsrError for every mistake that is found.
    """
    require_writable(recipe.out, folder=True)
    pick_device(recipe.training.device)
    require_suitable(recipe)
    images = described(image_pairs(recipe))
    network = loaded_teacher(recipe)
    lines = [f"teacher: {_described(recipe.teacher, network)}"]
    if recipe.budget is None and not recipe.students:
        student = assembled(with_chosen_student(recipe), network).module.student
        lines.append(f"student: {_described(recipe.student, student)}")
    lines += [f"method: {method_name(recipe.method)}", f"training images: {images}"]
    data = recipe.data
    if data.val:
        Validation(data.val, recipe.scale, data.val_images, recipe.degrade, network if data.lr_only else None)
        lines.append(f"validation images: {data.val}")
    return [*lines, f"out: {recipe.out}, {_continued(recipe)}"]


def _described(given: object, network: Network) -> str:
    name = str(given) if isinstance(given, str | Path) else name_of(network)
    return f"{name} ({parameter_count(network) / 1e3:,.1f} K parameters)"


def _continued(recipe: DistillRecipe) -> str:
    """Where the training would begin. Raises HkdsrError if it was begun with other settings."""
    path = recipe.out / FILE
    found = read_checkpoint(path, None)
    if found is None:
        return "a new training"
    # Hashes of the content of files are compared when it starts.
    read_checkpoint(path, {**found.fingerprint, **lasting_settings(recipe)}, SETTINGS)
    return f"which continues at step {found.step} of {recipe.training.steps}"
