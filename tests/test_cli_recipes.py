"""The flags that choose the method."""

from __future__ import annotations

import pytest

from hkdsr.cli.recipes import with_method
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, METHODS
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe

CHOICES = f"choose one of {', '.join(METHODS)}"


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("joined", [False, True])
def test_the_method_flag_is_taken_out_in_either_form(name: str, joined: bool) -> None:
    flag = [f"--method.name={name}"] if joined else ["--method.name", name]
    recipe, rest = with_method(DistillRecipe(method=HKDSR(sim_w=3.0)), ["--scale", "2", *flag, "--out=x"])
    assert rest == ["--scale", "2", "--out=x"]
    # If the recipe has that method, its settings stay.
    assert recipe.method == (HKDSR(sim_w=3.0) if name == "hkdsr" else METHODS[name]())


def test_the_method_is_chosen_once() -> None:
    with pytest.raises(HkdsrError, match="is given more than once: leave all but one"):
        with_method(DistillRecipe(), ["--method.name", "none", "--method.use=a.py:A"])


def test_without_the_flag_nothing_changes() -> None:
    recipe, arguments = DistillRecipe(), ["--scale", "3", "--method.names", "x"]
    assert with_method(recipe, arguments) == (recipe, arguments)
    plain = TrainRecipe()
    assert with_method(plain, ["--method.name", "none"]) == (plain, ["--method.name", "none"])


@pytest.mark.parametrize(
    "arguments", [["--method.name"], ["--method.name="], ["--method.name", "fancy"], ["--method.name", "hkdsr,"]]
)
def test_an_unknown_method_flag_lists_the_methods(arguments: list[str]) -> None:
    with pytest.raises(HkdsrError, match=f"is unknown: {CHOICES}"):
        with_method(DistillRecipe(), arguments)
