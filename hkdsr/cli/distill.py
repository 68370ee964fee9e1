"""``hkdsr distill``."""

from __future__ import annotations

from hkdsr.cli.recipes import parse_recipe
from hkdsr.cli.training import finished, joined
from hkdsr.settings.recipe import DistillRecipe


def run(arguments: list[str]) -> None:
    """Distil a teacher into a student, or continue to."""
    with joined():
        recipe = parse_recipe(DistillRecipe, "distill", arguments)
        from hkdsr.training.run import distill

        finished(distill(recipe), recipe, "student")
