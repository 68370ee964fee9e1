"""The teacher of a recipe, with the exits and the stored images that its method needs."""

from __future__ import annotations

from pathlib import Path

from hkdsr.data.store import ImageStore, default_cache
from hkdsr.methods.base import Method
from hkdsr.nets.base import Network
from hkdsr.nets.exits import NetworkWithExits
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.context import Context
from hkdsr.training.stage1 import Stage1Images, teacher_with_exits
from hkdsr.training.stored_features import feature_images, stored_depths
from hkdsr.training.teacher import Teacher, prepared


def exits_of_teacher(
    recipe: DistillRecipe, network: Network, uses_exits: bool, store: ImageStore, context: Context, is_target: bool
) -> NetworkWithExits:
    """The teacher with the recipe's exits, if the method uses them, trained where they are not in the cache.

    With images of its features, if the method takes these from the disk.
    """
    images = Stage1Images(store, recipe.data.patch, recipe.degrade, is_target)
    cache = recipe.data.cache or default_cache()
    found = teacher_with_exits(network, images, recipe.exits if uses_exits else None, cache, context)
    if depths := stored_depths(recipe):
        device = context.device
        found.network.to(device)
        found.features = feature_images(found.network, depths, store, cache, device, context.processes, recipe.degrade)
    return found


def teacher_for(
    recipe: DistillRecipe,
    network: Network,
    method: Method,
    store: ImageStore,
    cache: Path,
    context: Context,
    is_target: bool,
) -> Teacher:
    """The teacher with the exits and images that the method needs. Raises HkdsrError as ``prepared`` does."""
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
