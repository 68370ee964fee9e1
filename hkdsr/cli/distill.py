"""``hkdsr distill``."""

from __future__ import annotations

from hkdsr.cli.training import recipe_for_all, report
from hkdsr.settings.recipe import DistillRecipe


def run(arguments: list[str]) -> None:
    """Distil a teacher into a student, or continue a run."""
    with recipe_for_all(DistillRecipe, "distill", arguments) as recipe:
        from hkdsr.training.run import distill

        report(distill(recipe), recipe, "student")
