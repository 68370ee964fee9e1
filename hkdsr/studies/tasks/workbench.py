"""Where the rows of a study are measured: the networks, a few training images, and the work to take the time of."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from hkdsr.data.crops import CropSampler, Prefetcher
from hkdsr.data.store import ImageStore, build_store, default_cache
from hkdsr.nets.exits import Exits, NetworkWithExits
from hkdsr.nets.reparam import expand
from hkdsr.settings.choices import TeacherImages
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.context import Context
from hkdsr.training.fidelity import fidelity, is_target
from hkdsr.training.images import image_pairs, image_store, with_variants
from hkdsr.training.labelling import HEADROOM
from hkdsr.training.networks import assembled, loaded_teacher
from hkdsr.training.process_group import ALONE
from hkdsr.training.pruned import start_pruned
from hkdsr.training.stage1 import ExitTraining, score_exits, stage1_training, trains_exits, untrained_exits
from hkdsr.training.step import Steps
from hkdsr.training.stored_features import feature_images, stored_depths
from hkdsr.training.teacher import Teacher, prepared

FEW = 4
"""Training images that crops are cut from and that the teacher's images are made of."""
REPEATS = 3
"""How often the teacher's images are made; the median counts."""


class Stepper:
    """Takes the steps of one training and gives their time; to be closed."""

    def __init__(self, steps: Steps, sampler: CropSampler, device: torch.device) -> None:
        self._steps, self._device = steps, device
        self._batches = Prefetcher(sampler, 0, pin=device.type == "cuda")
        self._step = 0

    def seconds(self, count: int) -> float:
        """Take ``count`` steps; returns the mean seconds of one."""

        def take() -> None:
            for _ in range(count):
                self._steps.take(self._step, self._batches)
                self._step += 1

        return seconds_of(take, self._device) / count

    def close(self) -> None:
        """Stop the thread that cuts the crops."""
        self._batches.close()


class Workbench:
    """Makes the steppers of recipes that differ in method and start alone, and times their preparation.

    ``folder`` takes everything that is written. Raises HkdsrError for a teacher or images that cannot be used.
    """

    def __init__(self, recipe: DistillRecipe, folder: Path, device: torch.device) -> None:
        self._folder, self._device = folder, device
        self._network = loaded_teacher(recipe)
        self._stores = {recipe.data.share: image_store(recipe)}
        self._few = _few(recipe, self._whole(recipe), folder)
        self._teachers: dict[Hashable, NetworkWithExits] = {}
        self._seconds: dict[tuple[str, Hashable], float] = {}
        found = fidelity(self._network, self._whole(recipe), device, recipe.degrade)
        self._is_target = is_target(recipe, found, self._whole(recipe))

    def ways(self, recipe: DistillRecipe) -> Sequence[TeacherImages]:
        """The values of ``exits.teacher_images`` to compare: both where ``auto`` can choose, else what is set."""
        choice, method = recipe.exits.teacher_images, recipe.method.resolved(recipe.scale, recipe.init)
        if recipe.degrade.live:
            return ("live",)
        if choice != "auto" or not method.uses_teacher:
            return (choice,)
        network = self._with_exits(recipe)
        planes = 1 + len(network.exits.taps) + (network.features.planes if network.features else 0)
        cache = recipe.data.cache or default_cache()
        cache.mkdir(parents=True, exist_ok=True)
        room = shutil.disk_usage(cache).free >= HEADROOM * planes * self._whole(recipe).offsets[-1]
        return ("cached", "live") if room else ("live",)

    def stepper(self, recipe: DistillRecipe, images: TeacherImages) -> Stepper:
        """The training of ``recipe`` with the teacher's images as ``images`` says. Raises HkdsrError as ``distill``."""
        parts = assembled(recipe, self._network)
        if recipe.training.reparameterise:
            expand(parts.module.student)
        teacher = self._teacher(recipe, images) if parts.method.uses_teacher else None
        parts.move_networks(self._device)
        context = Context(self._folder, recipe.training, {}, "", self._device)
        stored = teacher.stored if teacher else None
        training, degrade = recipe.training, recipe.degrade
        sampler = CropSampler(self._few, recipe.data.patch, training.batch, training.seed, stored, degrade=degrade)
        return Stepper(Steps(parts.module, context, teacher, parts.module.before_step), sampler, self._device)

    def stage1_stepper(self, recipe: DistillRecipe) -> Stepper | None:
        """Stage 1 of the teacher's exits; None if it trains nothing."""
        settings, whole = recipe.exits, recipe.exits.stage1_trainable == "all"
        if not trains_exits(settings):
            return None
        together = untrained_exits(copy.deepcopy(self._network), settings).to(self._device)
        (together if whole else together.exits).requires_grad_(True)
        context = Context(self._folder, stage1_training(settings, recipe.training), {}, "", self._device)
        crops = (recipe.data.patch, settings.stage1_batch, settings.stage1_seed)
        sampler = CropSampler(self._few, *crops, degrade=recipe.degrade)
        module = ExitTraining(together, whole, settings.stage1_include_final, self._is_target)
        return Stepper(Steps(module, context), sampler, self._device)

    def start(self, recipe: DistillRecipe) -> float:
        """Seconds of the pruned start, from all training images. Raises HkdsrError if it is refused."""

        def make() -> None:
            network = loaded_teacher(recipe)  # not self._network, which may be on the GPU by now
            parts, target = assembled(recipe, network), network if self._is_target else None
            whole = self._whole(recipe)
            start_pruned(parts.module.student, parts.source, whole, self._folder, ALONE, target, recipe.degrade)

        return self._once("start", False, lambda: seconds_of(make, self._device))

    def exit_check(self, recipe: DistillRecipe) -> float:
        """Seconds of the check of the teacher's exits, which every run makes whose target is HR."""
        if self._is_target:
            return 0.0
        together = self._with_exits(recipe).to(self._device)

        def check() -> None:
            score_exits(together, self._whole(recipe), self._device, recipe.degrade)

        return self._once("exit check", True, lambda: seconds_of(check, self._device))

    def images(self, recipe: DistillRecipe) -> float:
        """Seconds that the teacher takes for all training images, from those for a few, by the number of pixels."""

        def few() -> float:
            rounds = []
            for index in range(REPEATS):
                folder = self._folder / f"images{index}"
                rounds.append(seconds_of(lambda folder=folder: self._teacher(recipe, "cached", folder), self._device))
            return median(rounds) / self._few.offsets[-1]

        per_value = self._once("images", _outputs(recipe), few)
        return per_value * float(self._whole(recipe).offsets[-1])

    def _whole(self, recipe: DistillRecipe) -> ImageStore:
        """The training images of a row, which may have a share of its own."""
        if recipe.data.share not in self._stores:
            self._stores[recipe.data.share] = image_store(recipe)
        return self._stores[recipe.data.share]

    def _once(self, part: str, variant: Hashable, seconds: Callable[[], float]) -> float:
        if (part, variant) not in self._seconds:
            self._seconds[part, variant] = seconds()
        return self._seconds[part, variant]

    def _teacher(self, recipe: DistillRecipe, images: TeacherImages, folder: Path | None = None) -> Teacher:
        method = recipe.method.resolved(recipe.scale, recipe.init)
        return prepared(
            self._with_exits(recipe),
            method.feature_depths,
            self._few,
            folder or self._folder,
            images,
            self._device,
            ALONE,
            self._is_target,
            recipe.training.precision,
            method.strides,
        )

    def _with_exits(self, recipe: DistillRecipe) -> NetworkWithExits:
        """The teacher with untrained exits, and with images of its features, if the method needs them."""
        key = exits, depths = _outputs(recipe)
        if key not in self._teachers:
            network = self._network.to(self._device)
            found = (
                untrained_exits(network, recipe.exits)
                if exits
                else NetworkWithExits(network, Exits(network, ())).eval().requires_grad_(False)
            )
            if depths:
                found.features = feature_images(network, depths, self._few, self._folder, self._device, ALONE)
            self._teachers[key] = found
        return self._teachers[key]


def _outputs(recipe: DistillRecipe) -> tuple[bool, tuple[float, ...]]:
    """What the method takes of the teacher besides its final image: exits, and features at depths, from the disk."""
    return recipe.method.resolved(recipe.scale, recipe.init).uses_exits, stored_depths(recipe)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """The seconds until ``work`` is done, also on a GPU."""
    begun = time.perf_counter()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - begun


def _few(recipe: DistillRecipe, store: ImageStore, folder: Path) -> ImageStore:
    """A few of the images that crops are cut from, evenly spread over their area, as crops are."""
    patch = recipe.data.patch
    CropSampler(store, patch, 1, 0)  # raises if no image is as large as the patch
    sizes = np.array(store.sizes) // store.scale
    fitting = np.flatnonzero(sizes.min(axis=1) >= patch)
    up_to = np.cumsum(sizes[fitting].prod(axis=1))
    places = np.searchsorted(up_to, (np.arange(FEW) + 0.5) / FEW * up_to[-1])
    pairs, images = image_pairs(recipe), np.unique(fitting[places] // max(recipe.degrade.variants, 1))
    few = build_store([pairs[index] for index in images], recipe.scale, folder, progress=False)
    return with_variants(few, recipe, folder)
