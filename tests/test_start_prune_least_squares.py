"""The sums, the fit and the removal of channels against plain float64 restatements."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from hkdsr.nets.start.prune.least_squares import gram, patches, positions, refit
from hkdsr.nets.start.prune.surgeon import Reader, eliminate

LAYERS = {
    "3x3": lambda: nn.Conv2d(4, 5, 3, padding=1),
    "1x1 without bias": lambda: nn.Conv2d(4, 5, 1, bias=False),
    "strided": lambda: nn.Conv2d(4, 5, 3, stride=2),
    "depth-wise": lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4),
    "linear": lambda: nn.Linear(4, 5),
    "layer norm": lambda: nn.LayerNorm(4),
}


def layer_and_input(kind: str) -> tuple[nn.Module, Tensor]:
    layer = LAYERS[kind]().double().requires_grad_(False)
    x = torch.randn(20, 4, 11, 9, dtype=torch.float64)
    return layer, x if isinstance(layer, nn.Conv2d) else x.permute(0, 2, 3, 1)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("kind", LAYERS)
def test_patches_times_weights_are_the_outputs(kind: str, step: int) -> None:
    layer, x = layer_and_input(kind)
    assert isinstance(layer, nn.Conv2d | nn.Linear | nn.LayerNorm)
    for phase in range(step**2):
        rows, y = patches(layer, x, step, phase), positions(layer, layer(x), step, phase)
        weight = layer.weight.reshape(len(layer.weight), -1)
        bias = torch.zeros(len(weight), 1).double() if layer.bias is None else layer.bias[:, None]
        full = torch.cat([weight, bias], dim=1)
        if rows.ndim == 2:
            expected = rows @ full.T
        else:
            expected = (rows @ full.unflatten(0, (len(rows), -1)).mT).permute(1, 0, 2).flatten(1)
        torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_solved_to_the_one_that_made_the_targets(kind: str) -> None:
    (layer, x), (other, _) = layer_and_input(kind), layer_and_input(kind)
    nn.init.normal_(other.weight)  # pyright: ignore[reportArgumentType]
    assert isinstance(layer, nn.Conv2d | nn.Linear | nn.LayerNorm)
    refit(layer, x, other(x), ridge=0.0)
    for own, expected in zip(layer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-6, atol=1e-6)


def test_the_fit_is_that_of_least_squares_with_a_pull_towards_the_weights_before() -> None:
    layer, x = nn.Conv2d(2, 3, 3, padding=1).double().requires_grad_(False), torch.randn(3, 2, 8, 7).double()
    y, ridge = torch.randn(3, 3, 8, 7).double(), 0.3
    before = layer.weight.reshape(3, -1).T.clone()
    rows = nn.functional.unfold(x, 3, padding=1).transpose(1, 2).reshape(-1, 18)
    pull = (ridge * rows.square().sum(0).mean()).sqrt()
    A = torch.cat([torch.cat([rows, torch.ones(len(rows), 1).double()], 1), pull * torch.eye(18, 19).double()])
    b = torch.cat([y.permute(0, 2, 3, 1).reshape(-1, 3), pull * before])
    found = torch.linalg.lstsq(A, b).solution
    refit(layer, x, y, ridge, thin=False)
    torch.testing.assert_close(layer.weight.reshape(3, -1).T, found[:-1], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(layer.bias, found[-1], rtol=1e-8, atol=1e-8)


def least_error(rows: Tensor, y: Tensor, kept: Tensor) -> float:
    """What the best map of the kept columns of ``rows`` leaves of ``y``, solved anew."""
    return float((y - rows[:, kept] @ torch.linalg.lstsq(rows[:, kept], y).solution).square().sum())


def test_a_channel_costs_what_a_new_fit_without_it_loses() -> None:
    x = torch.randn(3, 4, 9, 9).double() @ torch.randn(9, 9).double()
    layer = nn.Conv2d(4, 2, 3, padding=1).double().requires_grad_(False)
    rows, y = patches(layer, x), positions(layer, layer(x))
    weights = torch.cat([layer.weight.reshape(2, -1).T, layer.bias[None]])  # pyright: ignore[reportOptionalSubscript]
    entries = torch.arange(36).reshape(4, 9)
    reader = Reader(gram(rows), weights)
    alive = [0, 1, 2, 3]
    for removed in (2, 0):
        share = reader.costs(entries[alive])
        lost = []
        for channel in alive:
            kept = torch.tensor([i for c in alive if c != channel for i in entries[c].tolist()] + [36])
            lost.append(least_error(rows, y, kept) / float(y.square().sum()))
        # After a removal the cost is that of the further channel alone.
        base = least_error(rows, y, torch.tensor([i for c in alive for i in entries[c].tolist()] + [36]))
        expected = torch.tensor(lost).double() - base / float(y.square().sum())
        torch.testing.assert_close(share, expected, rtol=1e-3, atol=1e-6)
        alive.remove(removed)
        reader.remove(entries[removed])


def test_of_two_channels_that_say_the_same_one_is_kept() -> None:
    x = torch.randn(500, 4).double()
    x[:, 3] = 2 * x[:, 1]
    weights = torch.tensor([[0.1], [1.0], [2.0], [1.0], [0.0]]).double()
    rows = torch.cat([x, torch.ones(500, 1).double()], 1)
    entries = torch.arange(4)[:, None]
    kept = eliminate([(Reader(gram(rows), weights), entries)], 2, torch.zeros(4).double())
    assert 2 in kept
    assert len({1, 3} & set(kept)) == 1
    errors = {pair: least_error(rows, rows @ weights, torch.tensor([*pair, 4])) for pair in combinations(range(4), 2)}
    assert errors[kept[0], kept[1]] == pytest.approx(min(errors.values()))
