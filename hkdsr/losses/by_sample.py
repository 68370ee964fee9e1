"""A mean over the batch whose gradient is taken sample by sample, while each sample's intermediates are in the cache.

A loss whose intermediates dwarf the image (the gate of ACF has 32 maps per colour) is bound by memory when the whole
batch goes through it at once; one sample at a time it is faster on a CPU, and needs a fraction of the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

PIXELS_TOGETHER = 1 << 13  # small samples share a pass, since every pass has a fixed cost


def mean_by_sample(
    loss: Callable[..., Tensor], student: Tensor, constants: Sequence[Tensor], parameters: Sequence[Tensor]
) -> Tensor:
    """Mean over the batch of ``loss(student[b:b+1], *[c[b:b+1] for c in constants])``, a scalar.

    Equal in value and gradient, for ``student`` and ``parameters``, to calling ``loss`` on the whole batch if it is a
    mean over samples; first derivatives only.
    """
    if not torch.is_grad_enabled():
        return loss(student, *constants)
    return _MeanBySample.apply(loss, len(constants), student, *constants, *parameters)


class _MeanBySample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Callable[..., Tensor], count: int, student: Tensor, *others: Tensor) -> Tensor:
        constants, parameters = others[:count], others[count:]
        total = student.new_zeros(())
        grad_student = torch.empty_like(student)
        together = max(1, PIXELS_TOGETHER // student[0, 0].numel())
        grad_parameters = [torch.zeros_like(p) for p in parameters]
        with torch.enable_grad():
            for start in range(0, len(student), together):
                some = slice(start, start + together)
                sample = student[some].detach().requires_grad_()
                value = loss(sample, *(c[some] for c in constants)) * len(sample)
                grad_student[some], *grads = torch.autograd.grad(value, [sample, *parameters])
                total += value.detach()
                for mine, theirs in zip(grad_parameters, grads, strict=True):
                    mine += theirs
        ctx.count = count
        ctx.save_for_backward(grad_student.div_(len(student)), *(g.div_(len(student)) for g in grad_parameters))
        return total / len(student)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        student, *parameters = (grad * grad_outputs[0] for grad in ctx.saved_tensors)
        return (None, None, student, *[None] * ctx.count, *parameters)
