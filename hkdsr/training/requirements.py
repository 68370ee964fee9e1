"""Refuses recipes whose settings for images do not suit each other."""

from __future__ import annotations

from hkdsr.errors import HkdsrError
from hkdsr.methods import method_name
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe


def require_suitable(recipe: TrainRecipe | DistillRecipe) -> None:
    """Raise HkdsrError, with the remedy, for images without HR and degradations where they cannot be used."""
    data, degrade = recipe.data, recipe.degrade
    if degrade.used and data.lr:
        raise HkdsrError("data.lr is set, but [degrade] makes LR from the images of data.train: leave one of them out")
    if isinstance(recipe, TrainRecipe):
        if data.lr_only:
            raise HkdsrError(
                "data.lr_only leaves no HR to train on: use hkdsr distill with a teacher, or give HR images"
            )
        return
    method, exits = recipe.method, recipe.exits
    if data.lr_only and not method.uses_teacher:
        raise HkdsrError(
            f"data.lr_only is set, but the method '{method_name(method)}' learns from HR alone: choose a method with a "
            "teacher, as logits, or give HR images"
        )
    if not method.uses_teacher:
        return
    if data.lr_only and recipe.target == "hr":
        raise HkdsrError("target is 'hr', but with data.lr_only there is no HR: set it to 'auto' or 'teacher'")
    if data.lr_only and method.uses_exits and exits.stage1_trainable == "all":
        raise HkdsrError(
            "exits.stage1_trainable is 'all', but with data.lr_only the teacher's image is what stage 1 learns from: "
            "set it to 'heads'"
        )
    if degrade.live and exits.teacher_images == "cached":
        raise HkdsrError(
            "exits.teacher_images is 'cached', but [degrade] makes new crops in every step: set it to 'live', or set "
            "degrade.variants to keep degraded images"
        )
