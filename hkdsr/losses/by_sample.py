"""A mean over the batch, computed sample by sample with its gradient, so that intermediate values fit in the cache.

The intermediate values of some losses are much larger than the image: the gate of ACF has 32 maps per colour. For a
whole batch they do not fit in the CPU's cache. One sample at a time is faster and needs a fraction of the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

PIXELS_PER_PASS = {"cpu": 1 << 13, "cuda": 1 << 20}
"""Small samples share a pass, since every pass has a fixed cost; a GPU is busy only with many."""


def mean_by_sample(
    loss: Callable[..., Tensor], student: Tensor, constants: Sequence[Tensor], parameters: Sequence[Tensor]
) -> Tensor:
    """Mean over the batch of ``loss(student[b:b+1], *[c[b:b+1] for c in constants])``, a scalar.

    Value and gradients are those of ``loss`` on the whole batch, if that is a mean over samples.

    Args:
        loss: a function of tensors whose first dimension is the batch; its result is a scalar.
        student: the first argument of ``loss``, with gradient.
        constants: the other arguments of ``loss``, without gradient.
        parameters: what ``loss`` uses besides its arguments and has a gradient for. There are no second derivatives.
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
        pixels = PIXELS_PER_PASS.get(student.device.type, PIXELS_PER_PASS["cpu"])
        per_pass = max(1, pixels // student[0, 0].numel())
        grad_parameters = [torch.zeros_like(p) for p in parameters]
        with torch.enable_grad():
            for start in range(0, len(student), per_pass):
                part = slice(start, start + per_pass)
                samples = student[part].detach().requires_grad_()
                value = loss(samples, *(c[part] for c in constants)) * len(samples)
                grad_student[part], *grads = torch.autograd.grad(value, [samples, *parameters])
                total += value.detach()
                for total_grad, grad in zip(grad_parameters, grads, strict=True):
                    total_grad += grad
        ctx.count = count
        ctx.save_for_backward(grad_student.div_(len(student)), *(g.div_(len(student)) for g in grad_parameters))
        return total / len(student)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        student, *parameters = (grad * grad_outputs[0] for grad in ctx.saved_tensors)
        return (None, None, student, *[None] * ctx.count, *parameters)
