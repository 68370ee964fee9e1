"""What ``hkdsr distill`` and ``hkdsr train`` share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from hkdsr.cli import output
from hkdsr.cli.recipes import parse_recipe
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe

if TYPE_CHECKING:
    from hkdsr.training.student import TrainingResult

Recipe = TypeVar("Recipe", bound=DistillRecipe | TrainRecipe)

logger = logging.getLogger(__name__)


@contextmanager
def recipe_for_all(kind: type[Recipe], command: str, arguments: list[str]) -> Iterator[Recipe]:
    """The recipe of ``hkdsr COMMAND``, for this process and the others that torchrun has started, which it joins.

    A mistake in the arguments is reported once, and only the first process writes messages. A process that trains alone
    ends in order by SIGTERM.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        from hkdsr.training.stopping import stopped_by_sigterm

        with stopped_by_sigterm():
            yield parse_recipe(kind, command, arguments)
        return
    from hkdsr.training.distributed import joined

    with joined() as processes:
        if not processes.main:
            output.silence()
        yield processes.main_first(lambda: parse_recipe(kind, command, arguments))


def report(result: TrainingResult, recipe: DistillRecipe | TrainRecipe, what: str) -> None:
    """Say how far the training is and where its weights are."""
    steps = recipe.training.steps
    done = f"{result.steps} steps in {result.seconds:.0f} s of training; the {what} is {result.weights}"
    rest = f"; run the same command again to continue to step {steps}" if result.steps < steps else ""
    logger.info("%s%s", done, rest)
