"""The inputs of the test vectors TV3 to TV6 of docs/method.md."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def images(batch: int = 2, side: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """S, T, G of TV3, float64 (batch, 3, side, side)."""
    b, c, i, j = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (batch, 3, side, side)), indexing="ij")
    truth = 0.5 + 0.4 * torch.sin(0.9 * b + c + 0.3 * i + 0.7 * j)
    teacher = truth + 0.05 * torch.cos(0.5 * b + 2 * c + 1.1 * i - 0.4 * j)
    student = teacher + 0.03 * torch.sin(1.3 * b + 0.7 * c - 0.8 * i + 0.9 * j)
    return student, teacher, truth


def exits() -> tuple[list[Tensor], list[Tensor], Tensor]:
    """S_k, T_k of TV5 for k = 0, 1, 2 and G."""
    student, teacher, truth = images()
    c, i, j = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (3, 8, 8)), indexing="ij")
    teachers = [teacher + 0.02 * (2 - k) * torch.sin(c + 0.2 * i + 0.1 * j) for k in range(3)]
    students = [student + 0.03 * (2 - k) * torch.cos(c + 0.1 * i - 0.2 * j) for k in range(3)]
    return students, teachers, truth


def set_gate(gate: nn.Module) -> None:
    """The gate of TV4: W[o, n] = 0.5 sin(1 + o + 2n + 3k), bias[o] = 0.1 cos(o + k) for the k-th layer."""
    layers = [module for module in gate.modules() if isinstance(module, nn.Conv2d)]
    for k, layer in enumerate(layers):
        o = torch.arange(layer.out_channels, dtype=torch.float64)
        n = torch.arange(layer.in_channels, dtype=torch.float64)
        weight = 0.5 * torch.sin(1 + o[:, None] + 2 * n[None, :] + 3 * k)
        layer.to(torch.float64)
        with torch.no_grad():
            layer.weight.copy_(weight[:, :, None, None])
            assert layer.bias is not None
            layer.bias.copy_(0.1 * torch.cos(o + k))
