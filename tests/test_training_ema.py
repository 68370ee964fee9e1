"""The averaged weights: vector 8 of docs/method.md, buffers, and that the copy stays out of training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hkdsr.training.ema import Ema


class Number(nn.Module):
    """One parameter and one buffer."""

    count: torch.Tensor

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))


def test_vector_8() -> None:
    number = Number(1.0)
    average = Ema(number, 0.999)
    number.value.data.fill_(2.0)
    for _ in range(5):
        average.update(number)
    assert average.module.value.item() == pytest.approx(1.004990009995, rel=1e-12)


def test_buffers_are_copied_and_the_source_is_left_alone() -> None:
    number = Number(1.0)
    average = Ema(number, 0.5)
    number.count.fill_(7)
    average.update(number)
    average.module.value.data.fill_(9.0)
    assert average.module.count == 7
    assert number.value == 1.0


def test_the_average_is_frozen_in_eval_mode() -> None:
    average = Ema(nn.Sequential(nn.Dropout(), Number(1.0)), 0.9)
    assert not any(module.training for module in average.module.modules())
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
