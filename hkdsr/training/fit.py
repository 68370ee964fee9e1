"""The training loop: optimises any module that turns a batch into named loss terms, and can be killed at any moment.

It continues exactly because crops and random numbers depend only on seed and step, the learning rate only on the step,
and a checkpoint holds the weights, their average and the optimiser's state. Steps after the last checkpoint are done
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

from torch import nn
from tqdm import tqdm

from hkdsr.data.crops import CropSampler
from hkdsr.data.resident import batches as batches_of
from hkdsr.training.checkpoint import Checkpoint
from hkdsr.training.context import Context
from hkdsr.training.distributed import check_launcher
from hkdsr.training.log import TrainingLog
from hkdsr.training.schedule import learning_rate
from hkdsr.training.step import Steps, checked
from hkdsr.training.teacher import Teacher

OnBest = Callable[[nn.Module, int, float], object]


class Scorer(Protocol):
    """Scores an averaged module, by the names of the scores in the log; higher is better.

    ``key`` identifies the images it is scored on, ``measure`` names the score that counts. ``step`` is the number of
    steps done.
    """

    key: str
    measure: str

    def score(self, module: nn.Module, step: int) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Fitted:
    """The result of ``fit``: averaged module, steps, seconds of training, best and last validation score (-inf: none).

    ``last`` is that of this session.
    """

    average: nn.Module
    steps: int
    seconds: float
    best: float
    last: float = float("-inf")


def fit(
    module: nn.Module,
    sampler: CropSampler,
    context: Context,
    teacher: Teacher | None = None,
    validation: Scorer | None = None,
    on_best: OnBest = lambda module, step, score: None,
    before_step: Callable[[int], object] = lambda step: None,
    stops: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Train ``module`` up to ``training.steps``, from the checkpoint that ``context`` found, if any.

    After ``training.minutes``, if set, and once ``stops`` gives True, it saves a checkpoint and ends. Several processes
    end with the same weights; only the first validates and writes.

    Args:
        module: called as ``module(lr, hr, teacher_outputs)``, returns named scalar terms whose sum is minimised.
        sampler: gives the batch of any step; with several processes, this one's share of it.
        teacher: gives the teacher's outputs for a batch.
        validation: called every ``validate_every`` steps; an earlier best score counts only for the same images.
        on_best: called with the averaged module when its score is the best so far.
        before_step: called with the number of each step (from 0) before it is taken.
        stops: called after each step; for one process alone.

    Raises:
        HkdsrError: the loss is no longer finite, or the disk is full.
    """
    settings, processes, found = context.settings, context.processes, context.found
    steps = Steps(module, context, teacher, before_step)
    module, average, optimiser = steps.module, steps.average, steps.optimiser
    step, seconds, best, score = context.step, context.seconds, float("-inf"), float("-inf")
    validated_on = validation.key if validation else ""
    if found is not None:
        module.load_state_dict(found.model)
        average.module.load_state_dict(found.average)
        optimiser.load_state_dict(found.optimiser)
        best = found.best if found.validated_on == validated_on else best

    def save() -> None:
        state = (module.state_dict(), average.module.state_dict(), optimiser.state_dict())
        reached = (step, seconds, dict(context.fingerprint), best, validated_on)
        context.save(Checkpoint(*reached, *state, dict(context.metadata)))

    end = float("inf") if settings.minutes is None else time.monotonic() + 60 * settings.minutes
    log = TrainingLog(context.folder, step, settings.tensorboard) if processes.main else None
    hidden = None if processes.main else True  # None: shown on a terminal
    bar = tqdm(total=settings.steps, initial=step, desc=context.label, unit="step", disable=hidden)
    with batches_of(sampler, step, context.device) as batches, bar, log or nullcontext():
        over = step >= settings.steps
        while not over:
            check_launcher()
            begun = time.perf_counter()
            terms = steps.take(step, batches)
            step += 1
            seconds += time.perf_counter() - begun
            bar.update()
            late = stops() or (settings.minutes is not None and processes.agreed(time.monotonic() > end))
            last = step == settings.steps
            over = late or last
            every = (settings.log_every, settings.validate_every, settings.save_every)
            logs, validates, saves = (last or step % interval == 0 for interval in every)
            # A session whose time is over saves, but logs and validates only at the steps of an uninterrupted run.
            saves = saves or late
            # Checked before saving too, so that broken weights do not replace good ones.
            values = checked(processes.means(terms), step) if logs or saves else {}
            if log is None:
                continue
            if logs:
                log.terms(step, seconds, learning_rate(settings, step - 1), values)
                bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()}, refresh=False)
            if validation and validates:
                scores = validation.score(average.module, step)
                log.validation(step, seconds, scores)
                score = scores[validation.measure]
                if score > best:
                    best = score
                    on_best(average.module, step, score)
            if saves:
                save()
    return Fitted(average.module, step, seconds, best, score)
