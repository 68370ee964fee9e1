"""The training loop: optimises whatever module turns a batch into named loss terms, and can be killed at any moment.

Exact resume rests on three things: crops and random draws depend on (seed, step) alone, the learning rate on the step
alone, and a checkpoint holds weights, their average and the optimiser's state. Steps after the last checkpoint are
simply done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hkdsr.choices import Precision
from hkdsr.data.crops import Batch, CropSampler, Prefetcher
from hkdsr.errors import HkdsrError
from hkdsr.nets.exits import Outputs
from hkdsr.recipe import Training
from hkdsr.training.checkpoint import FILE, Checkpoint, read_checkpoint, write_checkpoint
from hkdsr.training.distributed import ALONE, Team, check_device
from hkdsr.training.ema import Ema
from hkdsr.training.log import TrainingLog

STEP_STRIDE = 1 << 32  # keeps the random streams of neighbouring seeds apart

TeacherPass = Callable[[Batch], Outputs | None]
Validation = Callable[[nn.Module], float]
OnBest = Callable[[nn.Module, int, float], object]


@dataclass(frozen=True)
class Fitted:
    """What ``fit`` leaves: the averaged module, steps, seconds of training, best validation PSNR-Y (-inf: none)."""

    average: nn.Module
    steps: int
    seconds: float
    best: float


def no_teacher(batch: Batch) -> None:
    """The teacher's pass where there is no teacher."""


def fit(
    module: nn.Module,
    sampler: CropSampler,
    settings: Training,
    folder: Path,
    fingerprint: dict[str, str],
    teacher: TeacherPass = no_teacher,
    validate: Validation | None = None,
    validated_on: str = "",
    on_best: OnBest = lambda module, step, score: None,
    before_step: Callable[[int], object] = lambda step: None,
    label: str = "training",
    team: Team = ALONE,
) -> Fitted:
    """Train ``module`` for ``settings.steps``; go on from ``folder/last.pt`` if it is there.

    After ``settings.minutes``, if set, it ends earlier, at a checkpoint.

    The processes of a ``team`` end with the same weights; only the first validates and writes.

    Args:
        module: called as ``module(lr, hr, teacher_pictures)``, returns named scalar terms whose sum is minimised.
        sampler: gives the batch of any step; in a team, this process's share of it.
        fingerprint: settings that must be equal on resume, by name.
        teacher: the frozen teacher's pictures for a batch, or None.
        validate: score of the averaged module, higher is better; called every ``validate_every`` steps.
        validated_on: names the pictures that ``validate`` scores: a best score on others does not count on resume.
        on_best: called with the averaged module when its score is the best so far.
        before_step: called with the number of each step (from 0) before it is taken.

    Raises:
        HkdsrError: the loss is no longer finite, the disk is full, or ``folder`` was begun with other settings.
    """
    device = pick_device(settings.device)
    module = module.to(device).train()
    module = module.to(memory_format=torch.channels_last)
    team.share_state(chain(module.parameters(), module.buffers()))
    average = Ema(module, settings.ema)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, settings.lr, settings.betas, foreach=True)
    step, seconds, best = 0, 0.0, float("-inf")
    found = read_checkpoint(folder / FILE, fingerprint)
    if found is not None:
        module.load_state_dict(found.model)
        average.module.load_state_dict(found.average)
        optimiser.load_state_dict(found.optimiser)
        step, seconds = found.step, found.seconds
        best = found.best if found.validated_on == validated_on else best

    def save() -> None:
        state = (module.state_dict(), average.module.state_dict(), optimiser.state_dict())
        write_checkpoint(folder / FILE, Checkpoint(step, seconds, fingerprint, best, validated_on, *state))

    end = float("inf") if settings.minutes is None else time.monotonic() + 60 * settings.minutes
    log = TrainingLog(folder, step, settings.tensorboard) if team.main else None
    hidden = None if team.main else True  # None: shown on a terminal
    bar = tqdm(total=settings.steps, initial=step, desc=label, unit="step", disable=hidden)
    with Prefetcher(sampler, step) as batches, bar, log or nullcontext():
        over = step == settings.steps
        while not over:
            begun = time.perf_counter()
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, step)
            # The same in every process: what is drawn for the whole batch must be.
            torch.manual_seed(settings.seed * STEP_STRIDE + step)
            before_step(step)
            terms = _step(module, optimiser, next(batches), teacher, settings, device, team)
            average.update(module)
            step += 1
            seconds += time.perf_counter() - begun
            bar.update()
            late = settings.minutes is not None and team.told(time.monotonic() > end)
            last = step == settings.steps
            over = late or last
            every = (settings.log_every, settings.validate_every, settings.save_every)
            logs, validates, saves = (last or step % interval == 0 for interval in every)
            # Out of time, a leg saves; it logs and validates only where the whole training does.
            saves = saves or late
            # Before saving too, lest lost weights replace good ones.
            values = _checked(team.means(terms), step) if logs or saves else {}
            if log is None:
                continue
            if logs:
                log.terms(step, seconds, learning_rate(settings, step - 1), values)
                bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()}, refresh=False)
            if validate and validates:
                score = validate(average.module)
                log.validation(step, seconds, score)
                if score > best:
                    best = score
                    on_best(average.module, step, score)
            if saves:
                save()
    return Fitted(average.module, step, seconds, best)


def learning_rate(settings: Training, step: int) -> float:
    """MultiStep: the base rate times ``gamma`` for every milestone (a share of all steps) passed before ``step``."""
    passed = sum(step >= share * settings.steps for share in settings.milestones)
    return settings.lr * settings.gamma**passed


def pick_device(name: str, setting: str = "training.device") -> torch.device:
    """``auto``: the first GPU, or this process's, if there is one, else the CPU.

    Raises HkdsrError, naming the ``setting`` it came from, for a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise HkdsrError(f"{setting} is '{name}', which is not here: set it to auto or cpu") from error
    check_device(name, device)
    return device


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """bf16 autocast where asked for, or where ``auto`` finds a GPU with bf16; CPUs emulate it and are far slower."""
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" or (precision == "auto" and has_bf16):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def _step(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    teacher: TeacherPass,
    settings: Training,
    device: torch.device,
    team: Team,
) -> dict[str, Tensor]:
    optimiser.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    for part in _parts(batch, settings.accumulate):
        lr = part.lr.to(device, memory_format=torch.channels_last, non_blocking=True)
        hr = part.hr.to(device, non_blocking=True)
        on_device = Batch(lr, hr, [picture.to(device, non_blocking=True) for picture in part.teacher])
        with autocast(settings.precision, device):
            pictures = teacher(on_device)
            terms = module(lr, hr, pictures)
        share = len(part.lr) / len(batch.lr)
        (torch.stack(list(terms.values())).sum() * share).backward()
        for name, value in terms.items():
            totals[name] = totals.get(name, 0) + value.detach() * share
    team.average_gradients(optimiser.param_groups[0]["params"])
    optimiser.step()
    team.share_state(module.buffers())
    return totals


def _parts(batch: Batch, count: int) -> list[Batch]:
    planes = [plane.chunk(count) for plane in (batch.lr, batch.hr, *batch.teacher)]
    return [Batch(lr, hr, list(teacher)) for lr, hr, *teacher in zip(*planes, strict=True)]


def _checked(terms: dict[str, Tensor], step: int) -> dict[str, float]:
    values = {name: float(value) for name, value in terms.items()}
    for name, value in values.items():
        if value != value or value in (float("inf"), float("-inf")):
            raise HkdsrError(f"the loss term '{name}' is {value} at step {step}: lower the learning rate")
    return values
