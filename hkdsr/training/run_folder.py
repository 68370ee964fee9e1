"""The folder of a run while it trains: reserved, announced to those who watch, and continued with a word on it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.training import schedule
from hkdsr.training.announce import announced
from hkdsr.training.context import Context, opened
from hkdsr.training.distributed import process_group
from hkdsr.training.student import StudentTraining

logger = logging.getLogger(__name__)


@contextmanager
def opened_run(recipe: TrainRecipe | DistillRecipe, training: StudentTraining, *, extend: bool) -> Iterator[Context]:
    """The run's folder, with messages on how it is continued. Raises HkdsrError as ``opened`` does."""
    out, settings, new = recipe.out, recipe.training, training.fingerprint
    processes = process_group()
    with (
        opened(out, settings, new, out.name, processes, extend=extend) as context,
        announced(recipe) if processes.main else nullcontext(),
    ):
        if context.step:
            logger.info("continuing at step %d in %s", context.step, out)
        if context.found and schedule.changed(context.found.fingerprint, new):
            logger.warning("%s", schedule.change(context.found.fingerprint, new, settings, context.step))
        yield dataclasses.replace(context, metadata=training.metadata)
