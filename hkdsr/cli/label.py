"""``hkdsr label``."""

from __future__ import annotations

from hkdsr.cli.output import show
from hkdsr.cli.training import recipe_for_all
from hkdsr.settings.recipe import DistillRecipe


class LabelRecipe(DistillRecipe):
    """Make the teacher's images of all training images, which a later hkdsr distill with the same settings finds."""


def run(arguments: list[str]) -> None:
    """Fill the store of the teacher's images, or go on where a killed process stopped."""
    with recipe_for_all(LabelRecipe, "label", arguments) as recipe:
        from hkdsr.training.distributed import process_group
        from hkdsr.training.label import label

        labels = label(recipe)
        if process_group().main:
            show(f"images of the teacher for {labels.images} training images, {labels.made} of them made now, in:")
            for folder in labels.folders:
                show(f"  {folder}")
