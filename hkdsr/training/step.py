"""One step of the optimiser: forward and backward passes over the parts of a batch, then the update."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hkdsr.data.crops import Batch
from hkdsr.devices import autocast
from hkdsr.errors import HkdsrError
from hkdsr.training.context import Context
from hkdsr.training.teacher import Teacher


def take_step(
    module: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, teacher: Teacher | None, context: Context
) -> dict[str, Tensor]:
    """Update ``module`` by one batch; returns the loss terms of this process's share of it."""
    optimiser.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    for part in _parts(batch, context.settings.accumulate):
        part = _moved(part, context.device)
        with autocast(context.settings.precision, context.device):
            terms = module(part.lr, part.hr, teacher.outputs(part) if teacher else None)
        share = len(part.lr) / len(batch.lr)
        (torch.stack(list(terms.values())).sum() * share).backward()
        for name, value in terms.items():
            totals[name] = totals.get(name, 0) + value.detach() * share
    context.processes.average_gradients(optimiser.param_groups[0]["params"])
    optimiser.step()
    context.processes.share_state(module.buffers())
    return totals


def checked(terms: dict[str, Tensor], step: int) -> dict[str, float]:
    """The terms as numbers. Raises HkdsrError for one that is not finite."""
    values = {name: float(value) for name, value in terms.items()}
    for name, value in values.items():
        if value != value or value in (float("inf"), float("-inf")):
            raise HkdsrError(f"the loss term '{name}' is {value} at step {step}: lower training.lr")
    return values


def _parts(batch: Batch, count: int) -> list[Batch]:
    planes = [plane.chunk(count) for plane in (batch.lr, batch.hr, *batch.teacher)]
    return [Batch(lr, hr, list(teacher)) for lr, hr, *teacher in zip(*planes, strict=True)]


def _moved(batch: Batch, device: torch.device) -> Batch:
    lr = batch.lr.to(device, memory_format=torch.channels_last, non_blocking=True)
    hr = batch.hr.to(device, non_blocking=True)
    return Batch(lr, hr, [image.to(device, non_blocking=True) for image in batch.teacher])
