"""A whole pruned start against a plain restatement in float64: a small ``compact``, whose layers are a chain."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from small import scattered
from torch import Tensor, nn

from hkdsr.nets.files.load import build
from hkdsr.nets.start.prune.prune import prune
from hkdsr.nets.start.prune.refit import RIDGE
from hkdsr.nets.start.prune.surgeon import RIDGE as SURGEON_RIDGE

WIDE, NARROW, CROPS, SIDE, SCALE = 5, 3, 6, 15, 2


def rows_of(x: Tensor) -> Tensor:
    """What a 3x3 convolution sees at every position, and a 1: (positions, 9 * channels + 1)."""
    padded = F.pad(x, (1, 1, 1, 1))
    height, width = x.shape[-2:]
    views = [padded[:, :, top : top + height, left : left + width] for top in range(3) for left in range(3)]
    columns = torch.stack(views, 2).permute(0, 3, 4, 1, 2).reshape(-1, 9 * x.shape[1])
    return torch.cat([columns, torch.ones_like(columns[:, :1])], 1)


def outputs_of(y: Tensor) -> Tensor:
    return y.permute(0, 2, 3, 1).reshape(-1, y.shape[1])


def dense(weight: Tensor, bias: Tensor) -> Tensor:
    return torch.cat([weight.reshape(len(weight), -1).T, bias[None]])


def kept_channels(rows: Tensor, weights: Tensor, keep: int) -> list[int]:
    """Channels left after the one was removed, again and again, without which the best other weights err least."""
    channels = (len(weights) - 1) // 9
    squares = rows.T @ rows
    ridge = torch.diag_embed(torch.cat([torch.ones(9 * channels), torch.zeros(1)]).double())
    metric = squares + SURGEON_RIDGE * squares.diagonal()[:-1].mean() * ridge

    def loss(removed: list[int]) -> float:
        """Of the weights that come nearest in ``metric`` with zeros at the removed channels."""
        gone = torch.tensor([9 * channel + place for channel in removed for place in range(9)])
        rest = torch.tensor([entry for entry in range(len(weights)) if entry not in gone.tolist()])
        shift = torch.zeros_like(weights)
        shift[gone] = -weights[gone]
        shift[rest] = -torch.linalg.solve(metric[rest[:, None], rest], metric[rest[:, None], gone] @ shift[gone])
        return float((shift * (metric @ shift)).sum())

    removed: list[int] = []
    while channels - len(removed) > keep:
        left = [channel for channel in range(channels) if channel not in removed]
        removed.append(min(left, key=lambda channel: loss([*removed, channel])))
    return [channel for channel in range(channels) if channel not in removed]


def solved(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and bias that map ``x`` to ``y`` with the least squares, drawn a little towards ``weight``."""
    rows, wanted = rows_of(x), outputs_of(y)
    pull = (RIDGE * rows[:, :-1].square().sum(0).mean()).sqrt()
    draw = pull * torch.eye(rows.shape[1] - 1, rows.shape[1]).double()
    towards = pull * dense(weight, bias)[:-1]
    found = torch.linalg.lstsq(torch.cat([rows, draw]), torch.cat([wanted, towards])).solution
    return found[:-1].T.reshape(weight.shape), found[-1]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """In float64, the networks that are made on the way too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@torch.no_grad()
def test_the_pruned_start_is_that_of_the_restatement() -> None:
    torch.manual_seed(3)
    teacher = scattered(f"compact:features={WIDE},convs=3", SCALE)
    student = build(f"compact:features={NARROW},convs=3", SCALE).double()
    hr = torch.rand(CROPS, 3, SCALE * SIDE, SCALE * SIDE).double()
    lr = F.avg_pool2d(hr, SCALE)

    convs = [layer for layer in teacher.modules() if isinstance(layer, nn.Conv2d)]
    slopes = [layer.weight for layer in teacher.modules() if isinstance(layer, nn.PReLU)]
    weights = [(conv.weight, conv.bias) for conv in convs]
    seen, given = [lr], []
    for (weight, bias), slope in zip(weights, [*slopes, None], strict=True):
        given.append(F.conv2d(seen[-1], weight, bias, padding=1))
        if slope is not None:
            seen.append(F.prelu(given[-1], slope))

    # From the last layer to the first: which outputs of each layer stay.
    kept = [list(range(len(convs[-1].weight)))]
    for index in reversed(range(len(convs) - 1)):
        weight, bias = weights[index + 1]
        assert bias is not None
        following = weights[index + 2][0] if index + 2 < len(convs) else None
        matter = (
            torch.ones(len(weight)).double() if following is None else following.transpose(0, 1).flatten(1).norm(dim=1)
        )
        kept.insert(0, kept_channels(rows_of(seen[index + 1]), (dense(weight, bias) * matter)[:, kept[0]], NARROW))
    assert all(len(channels) == NARROW for channels in kept[:-1])

    # From the first to the last: solved on what the student's layers before give.
    x, expected = lr, []
    inputs = [[0, 1, 2], *kept]
    for index, (before, after) in enumerate(pairwise(inputs)):
        weight, bias = weights[index]
        assert bias is not None
        y = given[index][:, after]
        if index == len(convs) - 1:
            y = F.pixel_unshuffle(hr - F.interpolate(lr, scale_factor=SCALE, mode="nearest"), SCALE)
        found = solved(x, y, weight[after][:, before], bias[after])
        expected += list(found)
        if index < len(slopes):
            x = F.prelu(F.conv2d(x, *found, padding=1), slopes[index][after])
            expected.append(slopes[index][after])

    prune(student, teacher, lr, hr)
    for (name, value), wanted in zip(student.named_parameters(), expected, strict=True):
        torch.testing.assert_close(
            value.detach(), wanted.detach(), rtol=1e-6, atol=1e-8, msg=lambda text, n=name: n + text
        )
