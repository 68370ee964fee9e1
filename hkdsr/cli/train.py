"""``hkdsr train``."""

from __future__ import annotations

from hkdsr.cli.training import recipe_for_all, report
from hkdsr.settings.recipe import TrainRecipe


def run(arguments: list[str]) -> None:
    """Train a network without a teacher, or continue a run."""
    with recipe_for_all(TrainRecipe, "train", arguments) as recipe:
        from hkdsr.training.run import train

        report(train(recipe), recipe, "network")
