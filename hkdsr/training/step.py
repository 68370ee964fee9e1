"""The steps of a training: forward and backward passes over the parts of a batch, then the update and the average."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn

from hkdsr.data.crops import Batch
from hkdsr.devices import autocast
from hkdsr.errors import HkdsrError
from hkdsr.training.context import Context
from hkdsr.training.distiller import Distiller
from hkdsr.training.ema import Ema
from hkdsr.training.schedule import learning_rate
from hkdsr.training.teacher import Teacher

STEP_STRIDE = 1 << 32  # no two pairs of seed and step have the same random numbers


class Steps:
    """A ``module`` with its optimiser and its averaged weights, moved to the device of ``context``.

    Args:
        module: called as ``module(lr, hr, teacher_outputs)``, returns named scalar terms whose sum is minimised. Where
            there is no HR, ``hr`` is the teacher's image, or None without a teacher.
        context: its settings, device and processes are used; nothing is read from its folder or written there.
        teacher: gives the teacher's outputs for a batch.
        before_step: called with the number of each step (from 0) before it is taken.
    """

    def __init__(
        self,
        module: nn.Module,
        context: Context,
        teacher: Teacher | None = None,
        before_step: Callable[[int], object] = lambda step: None,
    ) -> None:
        settings = context.settings
        if settings.compile != "no":
            for part in (module, teacher):
                if isinstance(part, Distiller | Teacher):
                    part.compile_networks(settings.compile, context.device)
        self.module = module.to(context.device).train().to(memory_format=torch.channels_last)
        context.processes.share_state(chain(self.module.parameters(), self.module.buffers()))
        self.average = Ema(self.module, settings.ema)
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        how = {"fused": True} if context.device.type == "cuda" else {"foreach": True}
        self.optimiser = torch.optim.Adam(parameters, settings.lr, settings.betas, **how)
        self._context, self._teacher, self._before_step = context, teacher, before_step

    def take(self, step: int, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """Take step number ``step`` (from 0) with the next of ``batches``; returns the loss terms of this process."""
        settings = self._context.settings
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(settings, step)
        # The same in every process, because some random numbers are drawn for the whole batch.
        torch.manual_seed(settings.seed * STEP_STRIDE + step)
        self._before_step(step)
        terms = take_step(self.module, self.optimiser, next(batches), self._teacher, self._context)
        self.average.update(self.module)
        return terms


def take_step(
    module: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, teacher: Teacher | None, context: Context
) -> dict[str, Tensor]:
    """Update ``module`` by one batch; returns the loss terms of this process's share of it."""
    optimiser.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    for part in _parts(batch, context.settings.accumulate):
        part = part.on(context.device)
        part = replace(part, lr=part.lr.contiguous(memory_format=torch.channels_last))
        torch.compiler.cudagraph_mark_step_begin()  # what the networks gave for earlier parts is no longer needed
        with autocast(context.settings.precision, context.device):
            outputs = None
            if teacher:
                outputs = teacher.outputs(part) if _uses_teacher(module) else teacher.target(part)
            target = outputs.final if outputs and teacher and teacher.is_target else part.optional_hr
            terms = module(part.lr, target, outputs)
        share = len(part.lr) / len(batch.lr)
        (torch.stack(list(terms.values())).sum() * share).backward()
        for name, value in terms.items():
            totals[name] = totals.get(name, 0) + value.detach() * share
    context.processes.average_gradients(optimiser.param_groups[0]["params"])
    optimiser.step()
    context.processes.share_state(module.buffers())
    return totals


def checked(terms: dict[str, Tensor], step: int) -> dict[str, float]:
    """The loss terms as numbers. Raises HkdsrError if one is not finite."""
    values = {name: float(value) for name, value in terms.items()}
    for name, value in values.items():
        if value != value or value in (float("inf"), float("-inf")):
            raise HkdsrError(f"the loss term '{name}' is {value} at step {step}: lower training.lr")
    return values


def _uses_teacher(module: nn.Module) -> bool:
    return not isinstance(module, Distiller) or module.weight > 0


def _parts(batch: Batch, count: int) -> list[Batch]:
    lrs = batch.lr.chunk(count)
    hrs = [None] * len(lrs) if batch.optional_hr is None else batch.hr.chunk(count)
    teachers = [plane.chunk(count) for plane in batch.teacher]
    return [Batch(lr, hr, [parts[i] for parts in teachers]) for i, (lr, hr) in enumerate(zip(lrs, hrs, strict=True))]
