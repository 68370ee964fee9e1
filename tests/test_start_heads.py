"""Exit heads solved by least squares: better than bicubic at once, and what a plain restatement gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

from hkdsr.data.store import ImageStore
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Plain
from hkdsr.nets.exits import ExitHead, Exits, enlarge
from hkdsr.nets.files.load import build, load
from hkdsr.nets.start.heads import RIDGE, solve_heads
from hkdsr.settings.choices import HeadTail
from hkdsr.training.run import distill
from hkdsr.training.start_crops import CROPS, start_crops


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return tiny.store(tmp_path_factory.mktemp("data"))


def errors(images: tuple[Tensor, ...], hr: Tensor) -> list[float]:
    return [(image - hr).square().mean().item() for image in images]


@pytest.mark.parametrize("tail", ["shuffle", "upsampler"])
def test_solved_heads_are_better_than_bicubic_where_they_were_not_solved(tail: HeadTail, store: ImageStore) -> None:
    network = load("compact_x2")
    torch.manual_seed(0)
    exits = Exits(network, (0.3, 0.7), tail=tail, start="solved")
    crops = start_crops(store, network)
    held_out, used = slice(0, 32), slice(32, CROPS)
    lr, hr = crops.lr[held_out], crops.hr[held_out]
    with torch.no_grad():
        before = errors(exits(lr, network.trace(lr, exits.taps), 2), hr)
        solve_heads(network, exits, crops.lr[used], crops.hr[used])
        first, second = errors(exits(lr, network.trace(lr, exits.taps), 2), hr)
    bicubic = (enlarge(lr, 2) - hr).square().mean().item()
    assert before == pytest.approx([bicubic, bicubic])
    assert second < first < 0.95 * bicubic


def test_the_solution_is_that_of_ridge_least_squares(store: ImageStore) -> None:
    """A restatement in float64 from the equation: w = (P^T P + l I)^-1 P^T y with the bias not drawn to zero."""
    torch.manual_seed(2)
    network = build("compact:features=3,convs=3", 2).eval()
    exits = Exits(network, (0.5,), tail="shuffle", start="solved")
    crops = start_crops(store, network)
    lr, hr = crops.lr[:12], crops.hr[:12]
    solve_heads(network, exits, lr, hr)
    with torch.no_grad():
        traced = network.trace(lr, exits.taps)
        features = (traced.taps[0] + traced.shallow).double()
        rows = F.unfold(features, 3, padding=1).transpose(1, 2).flatten(0, 1)
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        wanted = F.pixel_unshuffle((hr - enlarge(lr, 2)).double(), 2).permute(0, 2, 3, 1).flatten(0, 2)
        pull = RIDGE * (rows[:, :-1] ** 2).sum(0).mean() * torch.eye(rows.shape[1], dtype=torch.float64)
        pull[-1, -1] = 0
        solution = torch.linalg.solve(rows.T @ rows + pull, rows.T @ wanted).T
        head = exits.heads[0]
        assert isinstance(head, ExitHead)
        last = head.last
        assert last.bias is not None
        torch.testing.assert_close(last.weight.double().flatten(1), solution[:, :-1], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(last.bias.double(), solution[:, -1], rtol=1e-3, atol=1e-5)


def test_the_students_heads_start_solved(tmp_path: Path) -> None:
    recipe = tiny.replaced(tiny.recipe(tmp_path, Plain(exit_weight=1.0), steps=1), student="compact_x2")
    first = {}
    for start in ("bicubic", "solved"):
        own = tiny.replaced(tiny.exits(recipe, start=start), out=tmp_path / start)
        distill(own)
        first[start] = tiny.losses(own.out)[0][2]
    assert first["solved"]["pixel"] == first["bicubic"]["pixel"]
    assert first["solved"]["exit1"] < first["bicubic"]["exit1"]
    assert first["solved"]["exit2"] < first["bicubic"]["exit2"]


def test_the_teachers_heads_need_no_step_of_stage_1(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=1)
    recipe = tiny.replaced(tiny.exits(recipe, stage1_steps=0, allow_weak=False), teacher="compact_x2")
    with pytest.raises(HkdsrError, match="exit 1, 2 is no better than bicubic"):
        distill(recipe)
    distill(tiny.exits(recipe, start="solved"))


def test_a_solved_start_survives_a_kill(tmp_path: Path) -> None:
    recipe = tiny.exits(tiny.recipe(tmp_path, HKDSR(), steps=6, save_every=2), start="solved", stage1_steps=2)
    whole = tiny.replaced(recipe, out=tmp_path / "whole")
    distill(whole)
    with pytest.raises(tiny.Killed):
        distill(recipe, tiny.KilledAt(4))
    distill(recipe)
    assert tiny.equal(tiny.state(recipe.out)["model"], tiny.state(whole.out)["model"])
