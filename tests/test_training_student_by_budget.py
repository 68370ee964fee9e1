"""The largest student within a budget: against all candidates, timed near the limit only, chosen once for a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network, parameter_count
from hkdsr.nets.files.load import build, digest
from hkdsr.nets.start.prune.prune import check_prunable
from hkdsr.settings.recipe import DistillRecipe, Training, TrainRecipe
from hkdsr.settings.student_budget import read_budget
from hkdsr.training import student_by_budget
from hkdsr.training.run import distill, train
from hkdsr.training.student_by_budget import StudentSearch
from hkdsr.training.student_grid import grids

ALONE = Training(device="cpu")
SEARCH = StudentSearch(2, ALONE)
"""Shared, as it counts every candidate once."""


@pytest.fixture(scope="module")
def candidates() -> dict[str, tuple[int, int]]:
    """Parameters, and weights of convolutions, all of which run at LR size, by description."""
    found = {}
    for student in (student for grid in grids() for student in grid):
        with torch.device("meta"):
            network = build(student, 2)
        weights = sum(conv.weight.numel() for conv in network.modules() if isinstance(conv, nn.Conv2d))
        found[student] = (parameter_count(network), weights)
    return found


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The parameters of the networks that were timed: a thousand of them take a millisecond."""
    networks: list[int] = []

    def fake(network: Network, size: tuple[int, int], runs: int) -> float:
        assert size == (180, 320)
        assert 3 <= runs <= 10
        networks.append(parameter_count(network))
        return parameter_count(network) / 1e3

    monkeypatch.setattr(student_by_budget, "milliseconds", fake)
    return networks


@settings(max_examples=10)
@given(limit=st.integers(2_000, 4_000_000))
def test_most_parameters(limit: int, candidates: dict[str, tuple[int, int]]) -> None:
    chosen = SEARCH.largest(read_budget("budget", f"{limit} params")).chosen
    assert chosen.params == candidates[chosen.student][0]
    assert chosen.params == max(params for params, _ in candidates.values() if params <= limit)


@pytest.mark.parametrize(("limit", "width"), [(0.3, 1280), (9.9, 641), (10.0, 1280), (200.0, 640), (900.0, 1280)])
def test_most_multiply_adds_for_the_image_made(
    limit: float, width: int, candidates: dict[str, tuple[int, int]]
) -> None:
    chosen = SEARCH.largest(read_budget("budget", f"{limit} GMACs @ {width}x720")).chosen
    pixels = (width + 1) // 2 * 360
    assert chosen.macs == candidates[chosen.student][1] * pixels
    assert chosen.macs == max(w * pixels for _, w in candidates.values() if w * pixels <= limit * 1e9)


@pytest.mark.parametrize("limit", [2, 41, 2000])
def test_few_are_timed_and_none_that_is_far_too_slow(
    limit: int, timed: list[int], candidates: dict[str, tuple[int, int]]
) -> None:
    choice = StudentSearch(2, ALONE).largest(read_budget("budget", f"{limit} ms @ 640x360"))
    fitting = {student: weights for student, (params, weights) in candidates.items() if params <= 1e3 * limit}
    assert fitting[choice.chosen.student] == max(fitting.values())
    assert len(timed) == len(set(timed)) < len(candidates) / 2
    assert max(timed) < max(2.5e3 * limit, 20_000)
    assert all(one.milliseconds is not None for one in choice.near)
    lines = list(choice.lines())
    assert [line for line in lines if line.endswith("chosen")] == [
        line for line in lines if f" {choice.chosen.student} " in line
    ]
    assert "output 640x360, timed on cpu with" in lines[0]


def test_the_end_of_the_grid_is_said() -> None:
    assert SEARCH.largest(read_budget("budget", "90M params")).sentence.endswith("; there is no larger candidate")
    assert "no larger" not in SEARCH.largest(read_budget("budget", "base")).sentence


def test_a_refusal_names_the_smallest(timed: list[int]) -> None:
    smallest = "the smallest one, compact:features=4,convs=2, takes"
    count = parameter_count(build("compact:features=4,convs=2", 2))
    for text, taken in (("800 params", f"{count:,} params"), ("0.8 ms @ 640x360", f"{count / 1e3:.3g} ms")):
        with pytest.raises(
            HkdsrError, match=f"^no student is within the budget '{text}': {smallest} {taken}, so raise"
        ):
            SEARCH.largest(read_budget("budget", text))


@pytest.mark.parametrize(
    "teacher", ["compact:features=20,convs=5", "span:features=32,blocks=5,norm=1", "span:attention=0"]
)
def test_what_is_pruned_is_of_the_teachers_family(teacher: str) -> None:
    source = build(teacher, 2)
    for text in ("tiny", "20k params", "90M params"):
        choice = SEARCH.largest(read_budget("budget", text), "prune", source)
        student = build(choice.chosen.student, 2)
        check_prunable(student, source)
        assert 0 < parameter_count(student) < parameter_count(source)
        assert f"of the family {source.family} (init is 'prune')" in choice.sentence
    dropped = SEARCH.largest(read_budget("budget", "90M params"), "drop", source).chosen
    assert build(dropped.student, 2).channels == source.channels


def test_teachers_that_no_candidate_can_be_cut_out_of() -> None:
    tiny_budget = read_budget("budget", "tiny")
    with pytest.raises(
        HkdsrError, match=r"^init is 'prune', so .* of family edsr, but a budget chooses from compact and span: set"
    ):
        SEARCH.largest(tiny_budget, "prune", build(tiny.TEACHER, 2))
    with pytest.raises(HkdsrError, match="no student of family compact is smaller than one of 4 features and 1 convs"):
        SEARCH.largest(tiny_budget, "prune", build("compact:features=4,convs=1", 2))


def automatic(recipe: DistillRecipe) -> DistillRecipe:
    return dataclasses.replace(recipe, student="auto", budget="2 ms @ 640x360")


def test_a_run_keeps_the_student_that_was_chosen_first(
    tmp_path: Path, timed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the machine is ten times as fast when the run is continued."""
    recipe = tiny.recipe(tmp_path, steps=4, save_every=2)
    with pytest.raises(tiny.Killed):
        distill(automatic(recipe), tiny.KilledAt(3))
    monkeypatch.setattr(student_by_budget, "milliseconds", lambda network, size, runs: parameter_count(network) / 1e4)
    continued = distill(automatic(recipe))
    (student,) = json.loads((recipe.out / "chosen.json").read_text()).values()
    assert student == "compact:features=6,convs=2"
    assert json.loads(json.loads(tiny.metadata(continued.weights)["recipe"])["student"]) == student
    alone = distill(dataclasses.replace(recipe, student=student, out=tmp_path / "alone"))
    assert digest(continued.network.state_dict()) == digest(alone.network.state_dict())

    with pytest.raises(
        HkdsrError, match="out was begun for 2 ms @ 640x360, not for 3 ms: set that again, or change 'out'"
    ):
        distill(dataclasses.replace(automatic(recipe), budget="3 ms"))
    (recipe.out / "chosen.json").write_text("[")
    with pytest.raises(HkdsrError, match=r"chosen\.json is damaged: delete it"):
        distill(automatic(recipe))


def test_plain_training_chooses_too(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, steps=2)
    network = train(
        TrainRecipe(student="auto", budget="2k params", data=recipe.data, training=recipe.training, out=recipe.out)
    ).network
    assert parameter_count(network) == parameter_count(build("compact:features=6,convs=2", 2))


def test_student_and_budget_belong_together(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    with pytest.raises(HkdsrError, match="student is 'auto' but budget is not set: set budget"):
        distill(dataclasses.replace(recipe, student="auto"))
    with pytest.raises(HkdsrError, match="budget is 'tiny' but student is not 'auto': set student to 'auto' or leave"):
        distill(dataclasses.replace(recipe, budget="tiny"))
