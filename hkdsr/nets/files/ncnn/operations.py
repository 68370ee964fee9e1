"""The operations on numbers that ncnn has, in the order of their numbers there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BINARY: tuple[Callable[..., Tensor], ...] = (
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: torch.maximum(a, _like(b, a)),
    lambda a, b: torch.minimum(a, _like(b, a)),
    lambda a, b: a**b,
    lambda a, b: b - a,
    lambda a, b: b / a,
    lambda a, b: b**a,
)
UNARY: tuple[Callable[[Tensor], Tensor], ...] = (
    torch.abs,
    torch.neg,
    torch.floor,
    torch.ceil,
    torch.square,
    torch.sqrt,
    torch.rsqrt,
    torch.exp,
    torch.log,
    torch.sin,
    torch.cos,
    torch.tan,
    torch.asin,
    torch.acos,
    torch.atan,
    torch.reciprocal,
    torch.tanh,
    torch.log10,
    torch.round,
    torch.trunc,
)
REDUCTIONS: dict[int, Callable[[Tensor, tuple[int, ...]], Tensor]] = {
    0: lambda x, axes: x.sum(axes, keepdim=True),
    2: lambda x, axes: x.square().sum(axes, keepdim=True),
    3: lambda x, axes: x.mean(axes, keepdim=True),
    4: lambda x, axes: x.amax(axes, keepdim=True),
    5: lambda x, axes: x.amin(axes, keepdim=True),
}


def _like(value: Tensor | float, other: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.full_like(other, value)
