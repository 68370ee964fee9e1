"""The distributions of VID are densities, and training fits them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hkdsr.methods.vid_likelihood import EPS, Gaussian, Laplace


@pytest.mark.parametrize("kind", [Gaussian, Laplace])
def test_a_density_is_one(kind: type[Gaussian] | type[Laplace]) -> None:
    """The integral over all values of one of the teacher's entries is 1, up to the constant that is left out."""
    head = kind((2, 1), (1.5, 1.0)).double()
    student = torch.randn(1, 2, 1, 1, dtype=torch.float64)
    values = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    with torch.no_grad():
        densities = torch.stack([(-head(student, value.reshape(1, 1, 1, 1))).exp() for value in values])
    constant = math.sqrt(2 * math.pi) if kind is Gaussian else 1.0
    assert torch.trapezoid(densities, values).item() == pytest.approx(constant, rel=1e-3)


def test_variances_start_at_1() -> None:
    head = Gaussian((4, 3), (1.0, 1.0))
    variance = nn.functional.softplus(head.scale) + EPS
    torch.testing.assert_close(variance, torch.ones(3, 1, 1), atol=2 * EPS, rtol=0)


@pytest.mark.parametrize("kind", [Gaussian, Laplace])
def test_training_improves_the_likelihood(kind: type[Gaussian] | type[Laplace]) -> None:
    """The student predicts the teacher's first channel; the second is noise and gets a larger variance."""
    head = kind((3, 2), (1.0, 1.0))
    student = torch.randn(4, 3, 12, 12)
    teacher = torch.stack([0.5 * student[:, 0] - student[:, 2], torch.randn(4, 12, 12)], 1)
    optimiser = torch.optim.Adam(head.parameters(), 0.05)
    first = head(student, teacher).item()
    for _ in range(150):
        optimiser.zero_grad()
        head(student, teacher).backward()
        optimiser.step()
    assert head(student, teacher).item() < first - 0.5
    if isinstance(head, Gaussian):
        predicted, noise = head.scale.flatten().tolist()
        assert predicted < noise - 1
