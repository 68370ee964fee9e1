"""Studies read from TOML: mistakes are named, and rows and seeds become runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny_study

from hkdsr.errors import HkdsrError
from hkdsr.methods import FAKD, Logits, Plain, compose
from hkdsr.settings.recipe import ExitSettings
from hkdsr.studies.study import CONTROL_ROWS, Row, Study, describe_method, read_study, references, trainings

TEXT = """
teacher = "t.safetensors"
seeds = [1, 2]
[training]
steps = 100
[[rows]]
label = "none"
method = {name = "none"}
[[rows]]
label = "HKDSR, sliced"
init = "slice"
[rows.method]
name = "hkdsr"
sim_w = 0.3
"""


def read(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return read_study(path)


def test_rows_have_methods_and_starts(tmp_path: Path) -> None:
    study = read(tmp_path, TEXT)
    plain, other = study.rows
    assert study.plain == plain
    assert (other.short_name, other.init) == ("hkdsr-sliced", "slice")
    assert describe_method(other.method) == "hkdsr (sim_w 0.3)"


@pytest.mark.parametrize(
    ("old", "new", "naming"),
    [
        ('teacher = "t.safetensors"', "", r"teacher is missing in .*study\.toml: set it to"),
        ('label = "none"', 'label = "--"', "the label of a row is '--': give each row a label"),
        ('label = "none"', 'label = "HKDSR sliced"', "two rows, .* have the name 'hkdsr-sliced': change a label"),
        ('label = "none"', 'label = "Plain, longer"', "two rows, .* have the name 'plain-longer': change a label"),
        ('label = "none"', 'label = "teacher"', "two rows, .* have the name 'teacher': change a label"),
        ("seeds = [1, 2]", "seeds = []", "seeds is empty: name at least one"),
        ("seeds = [1, 2]", "seeds = [1, 1]", "seeds has 1 twice: name each once"),
        ("seeds = [1, 2]", "seeds = [1]\nlonger_steps = 100", "longer_steps is 100: set it to 101 or more, or to 0"),
        ("seeds = [1, 2]", "seeds = [1]\nbudget = 3", "'budget', which is not a setting"),
        ("steps = 100", "steps = 100\nminutes = 5", "training.minutes is set: leave it out"),
        ("steps = 100", "steps = 0", "training.steps is 0: set it to 1 or more"),
        ('init = "slice"', 'init = "student"', r"row 'HKDSR, sliced': init is 'student' but init_from is not set"),
        ('name = "hkdsr"', 'name = "magic"', r"rows.method.name is 'magic': choose one of"),
        ('name = "hkdsr"', 'name = "logits"', r"'rows.method.sim_w', which is not a setting"),
    ],
)
def test_mistakes_are_named(old: str, new: str, naming: str, tmp_path: Path) -> None:
    assert old in TEXT
    with pytest.raises(HkdsrError, match=naming) as error:
        read(tmp_path, TEXT.replace(old, new, 1))
    assert "study.toml" in str(error.value)


def test_a_study_without_rows(tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match=re.escape("the study has no rows: add [[rows]]")):
        read(tmp_path, 'teacher = "t.safetensors"')


def test_all_rows_of_a_seed_come_before_the_next_seed(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    tasks = trainings(study, study.rows, 100)
    assert [task.name for task in tasks] == ["none-1", "logits-1", "fakd-1", "none-2", "logits-2", "fakd-2"]
    recipes = [task.recipe for task in tasks if task.recipe]
    assert [recipe.training.seed for recipe in recipes] == [1, 1, 1, 2, 2, 2]
    assert {recipe.training.steps for recipe in recipes} == {100}
    assert recipes[2].init == "slice"
    assert recipes[2].out == tmp_path / "fakd-1"
    assert [task.name for task in trainings(study, CONTROL_ROWS, 250)][:2] == [
        "plain-longer-250-1",
        "slice-init-plain-longer-250-1",
    ]
    assert all(task.recipe is None for task in references())


def test_only_plain_training_from_scratch_is_plain() -> None:
    assert Row("a").is_plain
    assert not Row("a", init="slice").is_plain
    assert not Row("a", Plain(exit_weight=0.1)).is_plain
    assert not Row("a", Logits()).is_plain


def test_methods_are_described_with_their_settings() -> None:
    assert describe_method(Plain()) == "none"
    assert describe_method(Logits(teacher_weight=2.0)) == "logits (teacher_weight 2.0)"
    assert describe_method(compose(Logits(), FAKD(channel_weight=1.0))) == "logits + fakd (channel_weight 1.0)"


def test_a_plus_stays_in_the_name_of_the_folder() -> None:
    assert Row("hkdsr+").short_name == "hkdsr-plus"
    assert Row("HKDSR").short_name == "hkdsr"


def test_a_row_may_have_exits_of_its_own(tmp_path: Path) -> None:
    study = read(tmp_path, f"{TEXT}\n[rows.exits]\nstudent = 0.5\nteacher = 0.5")
    *others, last = trainings(study, study.rows, study.training.steps)
    assert last.recipe is not None
    assert last.recipe.exits == ExitSettings(student=(0.5,), teacher=(0.5,))
    assert all(task.recipe and task.recipe.exits == study.exits for task in others if task.label != last.label)
