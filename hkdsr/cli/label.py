"""``hkdsr label``."""

from __future__ import annotations

from dataclasses import dataclass, field

from hkdsr.cli.output import show
from hkdsr.cli.training import recipe_for_all
from hkdsr.settings.fields import FREE
from hkdsr.settings.recipe import DistillRecipe


@dataclass(frozen=True)
class LabelRecipe(DistillRecipe):
    """Make the teacher's images of all training images, which a later hkdsr distill with the same settings finds."""

    ray: str = field(default="", metadata=FREE)
    """Share the work over a Ray cluster, whose machines all need the folder ``data.cache`` (``hkdsr[ray]``): ``auto``
    for the cluster that this machine is part of, ``local`` for the CPUs and GPUs of this machine, or an address. There
    is a worker for each GPU, or without GPUs for each CPU (for each ``training.threads`` of them)."""


def run(arguments: list[str]) -> None:
    """Fill the store of the teacher's images, or go on where a killed process stopped."""
    with recipe_for_all(LabelRecipe, "label", arguments) as recipe:
        from hkdsr.training.distributed import process_group
        from hkdsr.training.label import label

        labels = label(recipe, recipe.ray)
        if process_group().main:
            show(f"images of the teacher for {labels.images} training images, {labels.made} of them made now, in:")
            for folder in labels.folders:
                show(f"  {folder}")
