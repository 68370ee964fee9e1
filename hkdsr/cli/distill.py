"""``hkdsr distill``."""

from __future__ import annotations

import logging

from hkdsr.cli.output import show
from hkdsr.cli.recipes import parse_recipe
from hkdsr.cli.training import recipe_for_all, report
from hkdsr.settings.recipe import DistillRecipe

CHECK = "--check"

logger = logging.getLogger(__name__)


def run(arguments: list[str]) -> None:
    """Distil a teacher into a student, or into students of several sizes, or continue a run.

    With ``--check`` among the arguments, only look for mistakes.
    """
    if CHECK in arguments:
        _check([word for word in arguments if word != CHECK])
        return
    with recipe_for_all(DistillRecipe, "distill", arguments) as recipe:
        if recipe.students:
            _distill_sizes(recipe)
            return
        from hkdsr.training.run import distill

        report(distill(recipe), recipe, "student")


def _check(arguments: list[str]) -> None:
    from hkdsr.training.check import check

    for line in check(parse_recipe(DistillRecipe, "distill", arguments)):
        show(line)
    show("No mistake was found. Nothing was trained.")


def _distill_sizes(recipe: DistillRecipe) -> None:
    from hkdsr.training.distributed import process_group
    from hkdsr.training.sizes import distill_sizes, table

    sizes = distill_sizes(recipe)
    for size in sizes:
        report(size.result, recipe, f"student {size.name}")
    if process_group().main:
        for line in table(sizes):
            show(line)
    if left := len(recipe.students) - len(sizes):
        logger.info("%d smaller %s left: run the same command again", left, "size is" if left == 1 else "sizes are")
