"""ACF with the default gate on a CPU: value and all gradients in one compiled pass over each sample."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hkdsr.losses.compiled import each


def gated_distance(
    loops: ModuleType, student: Tensor, teacher: Tensor, hr: Tensor, weights: tuple[Tensor, Tensor, Tensor, Tensor]
) -> Tensor:
    """Mean |S - F|, where F is G and T weighted by one gate for each colour: the same as ``Fusion.in_tensors``.

    Args:
        loops: ``hkdsr.losses.kernels``.
        student, teacher, hr: (B, 3, H, W) in [0, 1]; teacher and hr are constants.
        weights: weights and biases of both layers: (3, hidden, 2), (3, hidden), (3, 2, hidden) and (3, 2).

    Returns:
        A scalar, with gradients for the student and the weights; there are no second derivatives.
    """
    return _GatedDistance.apply(loops, student, teacher, hr, *weights)


class _GatedDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loops: ModuleType, student: Tensor, teacher: Tensor, hr: Tensor, *weights: Tensor) -> Tensor:
        batch = len(student)
        grad_student = torch.empty(student.shape, dtype=student.dtype)
        # Each sample has its own sum. They are added in order, so the result does not depend on the order of threads.
        grads = [torch.zeros(batch, *weight.shape, dtype=weight.dtype) for weight in weights]
        totals = [0.0] * batch
        s, g, t, d = (v.detach().contiguous().flatten(2).numpy() for v in (student, hr, teacher, grad_student))
        gates = [weight.detach().contiguous().numpy() for weight in weights]
        sums = [grad.numpy() for grad in grads]

        def compute(sample: int) -> None:
            own = [total[sample] for total in sums]
            bits = np.empty(loops.PIXELS, np.int32 if s.dtype == np.float32 else np.int64)
            work = (bits, bits.view(s.dtype))
            totals[sample] = loops.gated_distance(s[sample], g[sample], t[sample], *gates, d[sample], *own, *work)

        each(compute, batch)
        ctx.save_for_backward(grad_student.div_(student.numel()), *(grad.sum(0) / student.numel() for grad in grads))
        return student.new_tensor(sum(totals) / student.numel())

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_student, *weights = (grad * grad_outputs[0] for grad in ctx.saved_tensors)
        return (None, grad_student, None, None, *weights)
