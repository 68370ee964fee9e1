"""``hkdsr train``."""

from __future__ import annotations

from hkdsr.cli.recipes import parse_recipe
from hkdsr.cli.training import finished, joined
from hkdsr.settings.recipe import TrainRecipe


def run(arguments: list[str]) -> None:
    """Train a network without a teacher, or continue to."""
    with joined():
        recipe = parse_recipe(TrainRecipe, "train", arguments)
        from hkdsr.training.run import train

        finished(train(recipe), recipe, "network")
