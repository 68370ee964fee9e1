"""Budgets of a student, and lists of sizes, as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkdsr.cli.recipes import parse_recipe
from hkdsr.errors import HkdsrError
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.settings.resume import lasting_settings
from hkdsr.settings.student_budget import OUTPUT, SIZES, folder_name, listed_students, read_budget
from hkdsr.settings.toml import read_recipe


@pytest.mark.parametrize(
    ("text", "unit", "limit", "output"),
    [
        ("300k params", "params", 300_000, OUTPUT),
        ("0.3M params", "params", 300_000, OUTPUT),
        (" 45200 params ", "params", 45_200, OUTPUT),
        ("10 GMACs", "GMACs", 10, OUTPUT),
        ("2.5gmacs@640x360", "GMACs", 2.5, (640, 360)),
        ("20 ms", "ms", 20, OUTPUT),
        ("20 ms @ 640x360", "ms", 20, (640, 360)),
        ("tiny", "params", 60_000, OUTPUT),
    ],
)
def test_budgets(text: str, unit: str, limit: float, output: tuple[int, int]) -> None:
    found = read_budget("budget", text)
    assert (found.unit, found.limit, found.output) == (unit, limit, output)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "300k",
        "0 params",
        "-1 ms",
        "10 GMACs @ 640",
        "10 GMACs @ 0x360",
        "300k params @ 640x360",
        "k params",
        "huge",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(HkdsrError, match=r"^budget is '.*': write '300k params', .*, or one of tiny, small, base$"):
        DistillRecipe(budget=text)
    with pytest.raises(HkdsrError, match=r"^budget is "):
        TrainRecipe(budget=text)


@given(st.integers(1, 10**6), st.sampled_from(["", "k"]), st.integers(1, 9999), st.integers(1, 9999))
def test_numbers_units_and_sizes(number: int, times: str, width: int, height: int) -> None:
    assert read_budget("budget", f"{number}{times} params").limit == number * (1000 if times else 1)
    assert read_budget("budget", f"{number} ms @ {width}x{height}").output == (width, height)


@given(
    st.lists(
        st.sampled_from(["tiny", "300k params", "20 ms @ 640x360", "compact:features=24,convs=8", "a/net.py:Net:b=2"]),
        unique=True,
    )
)
def test_one_text_with_commas_is_the_same_list(students: list[str]) -> None:
    assert listed_students(",".join(students)) == listed_students(students) == tuple(students)


def test_lists_that_are_refused() -> None:
    for students in ("tiny,small,tiny", ("compact:features=8", "compact-features-8")):
        with pytest.raises(HkdsrError, match=r"^students has '.*' twice: name each once$"):
            DistillRecipe(students=students)  # pyright: ignore[reportArgumentType]
    with pytest.raises(HkdsrError, match=r"^students is '300 k': write"):
        DistillRecipe(students=("300 k",))


def test_the_command_line_and_toml_take_them(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('students = ["base", "compact:features=8,convs=2"]\nstudent = "auto"\nbudget = "10 GMACs"')
    recipe = read_recipe(file, DistillRecipe)
    assert recipe.students == ("base", "compact:features=8,convs=2")
    flagged = parse_recipe(DistillRecipe, "distill", [str(file), "--students", ",".join(SIZES), "--budget", "20 ms"])
    assert (flagged.students, flagged.budget, flagged.student) == (tuple(SIZES), "20 ms", "auto")


def test_the_choice_is_no_setting_that_must_last() -> None:
    """Runs of versions that did not have it continue; the student that was chosen must last."""
    assert not {"budget", "students"} & lasting_settings(DistillRecipe(budget="tiny")).keys()


def test_folders_are_plain_names() -> None:
    assert folder_name("20 ms @ 640x360") == "20-ms-640x360"
    assert folder_name("../Net.py:Net:a=1") == "net.py-net-a-1"
