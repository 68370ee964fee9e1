"""What ``hkdsr distill`` and ``hkdsr train`` share."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from hkdsr.settings.recipe import DistillRecipe, TrainRecipe

if TYPE_CHECKING:
    from hkdsr.training.student import TrainingResult

logger = logging.getLogger(__name__)


def joined() -> AbstractContextManager[object]:
    """Join the other processes that torchrun started, if it did."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return nullcontext()
    from hkdsr.training import distributed

    return distributed.joined()


def finished(result: TrainingResult, recipe: DistillRecipe | TrainRecipe, what: str) -> None:
    """Say how far the training is and where its weights are."""
    steps = recipe.training.steps
    done = f"{result.steps} steps in {result.seconds:.0f} s of training; the {what} is {result.weights}"
    rest = f"; run the same command again to continue to step {steps}" if result.steps < steps else ""
    logger.info("%s%s", done, rest)
