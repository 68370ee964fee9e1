"""The function ``label``: the teacher's images of a recipe's training images, made before the distillation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from hkdsr.data.store import default_cache
from hkdsr.devices import pick_device, runs_in_bf16
from hkdsr.errors import HkdsrError
from hkdsr.methods import method_name
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.context import Context
from hkdsr.training.distributed import check_device, process_group
from hkdsr.training.fidelity import check_teacher
from hkdsr.training.images import image_store
from hkdsr.training.labelling import labelled
from hkdsr.training.run import exits_of_teacher, loaded_teacher, name_given
from hkdsr.training.teacher import place


@dataclass(frozen=True)
class Labels:
    """The teacher's images: their folders, the number of training images, and of those that they were made for now."""

    folders: tuple[Path, ...]
    images: int
    made: int


def label(recipe: DistillRecipe, ray: str = "") -> Labels:
    """Make the teacher's images of all training images of ``recipe`` and keep them in its cache, without training.

    A distillation with the same teacher, images, exits and precision finds them there. Exits are trained first if the
    recipe's method needs them. After a kill, the same call makes those that are missing.

    Several processes share the images within ``hkdsr.training.distributed.joined()``. With ``ray``, the workers of a
    Ray cluster do: its address, ``auto`` for the one that this machine is part of, or ``local`` for this machine alone.

    Raises HkdsrError for every mistake that the user can correct.
    """
    require_stored(recipe)
    processes = process_group()
    if ray and processes.size > 1:
        raise HkdsrError("torchrun and --ray are both given, and each starts its own processes: leave one of them out")
    context = context_of(recipe)
    check_device(recipe.training.device, context.device, processes)
    network = loaded_teacher(recipe)
    store = image_store(recipe)
    checked = check_teacher(recipe, network, name_given(recipe.teacher), store, context)
    uses_exits = recipe.method.resolved(recipe.scale, recipe.init).uses_exits
    with_exits = exits_of_teacher(recipe, network, uses_exits, store, context, checked.is_target)
    cache = recipe.data.cache or default_cache()
    if ray:
        from hkdsr.training.label_on_ray import Task, labelled_on_ray

        task = Task.of(recipe, uses_exits, store.folder, checked.is_target)
        stored = labelled_on_ray(task, ray, with_exits, store, cache)
        return Labels(stored.folders, len(store), stored.lacked)
    bf16 = runs_in_bf16(recipe.training.precision, context.device)
    place(with_exits, context.device)
    stored = labelled(with_exits, store, cache, "cached", context.device, processes, bf16)
    assert stored is not None
    return Labels(stored.folders, len(store), processes.agreed(stored.lacked))


def context_of(recipe: DistillRecipe) -> Context:
    """What labelling needs of a training: device and processes; sets the CPU threads too."""
    if recipe.training.threads is not None:
        torch.set_num_threads(recipe.training.threads)
    device = pick_device(recipe.training.device)
    return Context(recipe.out, recipe.training, {}, "teacher's images", device, process_group())


def require_stored(recipe: DistillRecipe) -> None:
    """Raises HkdsrError if a distillation of ``recipe`` would not use stored images of the teacher."""
    if not recipe.method.uses_teacher:
        raise HkdsrError(
            f"the method '{method_name(recipe.method)}' learns from no teacher, so there are no images to make: set "
            "method.name to another one"
        )
    if recipe.degrade.live:
        raise HkdsrError(
            "[degrade] makes new crops in every step, so no images of the teacher can be kept: set degrade.variants to "
            "keep degraded images"
        )
    if recipe.exits.teacher_images == "live":
        raise HkdsrError(
            "exits.teacher_images is 'live', so the teacher runs on every batch and its images are not kept: set it to "
            "'cached' or 'auto'"
        )
