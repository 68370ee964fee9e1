"""CONTRIBUTING.md: its methods distil, and the code that it quotes is in the package."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import tiny
import torch

from hkdsr.errors import HkdsrError
from hkdsr.methods.outside import outside_class
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.toml import read_recipe
from hkdsr.training.log import read_log
from hkdsr.training.run import distill

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_method_of_the_page_distils(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    (method,) = (block for block in blocks("python") if "class MyKD(Method)" in block)
    (table,) = blocks("toml")
    (tmp_path / "my_method.py").write_text(method)
    states = []
    for steps in (1, 2):
        path = tmp_path / f"{steps}.toml"
        path.write_text(
            f"""
            teacher = "{recipe.teacher}"
            student = "{recipe.student}"
            out = "{tmp_path / str(steps)}"
            target = "hr"
            allow_odd_teacher = true
            [data]
            train = ["{tmp_path / "images"}"]
            patch = 12
            cache = "{tmp_path / "cache"}"
            [training]
            steps = {steps}
            batch = 2
            lr = 1e-3
            device = "cpu"
            log_every = 1
            """
            + table
        )
        assert str(read_recipe(path, DistillRecipe).method) == "MyKD(weight=0.2)"
        assert distill(read_recipe(path, DistillRecipe)).steps == steps
        states.append(tiny.state(tmp_path / str(steps))["model"])
    assert list(read_log(tmp_path / "2")[-1]["losses"]) == ["pixel", "feature"]
    for name in ("heads.weight", "heads.bias", "student.body.0.weight"):
        assert not torch.equal(states[0][name], states[1][name])


def test_the_file_of_the_page_may_move(tmp_path: Path) -> None:
    (method,) = (block for block in blocks("python") if "class WithPrior" in block)
    (tmp_path / "prior.py").write_text(method)
    (tmp_path / "first").write_text("statistics")
    kind = outside_class("prior.py:WithPrior", tmp_path)
    recipe = tiny.recipe(tmp_path, kind(prior=str(tmp_path / "first")), steps=1)  # pyright: ignore[reportCallIssue]
    distill(recipe)
    moved = (tmp_path / "first").rename(tmp_path / "moved")
    again = dataclasses.replace(recipe, method=kind(prior=str(moved)))  # pyright: ignore[reportCallIssue]
    assert distill(again).steps == 1
    moved.write_text("other statistics")
    with pytest.raises(HkdsrError, match=r"begun with other settings \(content of method\.prior\)"):
        distill(again)


QUOTED = [block for block in blocks("python") if "from dataclasses import" not in block]


@pytest.mark.parametrize("block", QUOTED)
def test_quoted_code_is_in_the_package(block: str) -> None:
    assert any(block in path.read_text(encoding="utf-8") for path in (REPOSITORY / "hkdsr").rglob("*.py"))


def test_the_files_named_are_there() -> None:
    named = set(re.findall(r"`((?:hkdsr|tests)/[\w/]+\.py)`", TEXT))
    assert len(named) >= 5
    assert all((REPOSITORY / name).is_file() for name in named)
