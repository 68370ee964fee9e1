"""Methods from files outside the package: they distil like others, and a file that cannot be used is refused."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import tiny
import torch
from small import refusal

from hkdsr.cli.recipes import parse_recipe, with_method
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits, compose
from hkdsr.methods.outside import outside_class
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.resume import flat_settings, lasting_settings
from hkdsr.settings.toml import read_recipe
from hkdsr.training.log import read_log
from hkdsr.training.run import distill

PRIOR = '''
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from hkdsr.methods import Method
from hkdsr.methods.inputs import LossInputs
from hkdsr.settings.fields import CONTENT


@dataclass(frozen=True)
class Prior(Method):
    prior: str = field(default="none", metadata=CONTENT)
    """A file with the mean colour of images, or ``none``."""
    more: tuple[Path, ...] = field(default=(), metadata=CONTENT)
    """Other files."""

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        terms = {"pixel": (inputs.student.final - inputs.hr).abs().mean()}
        if self.prior not in ("none", "grey"):
            terms["prior"] = (inputs.student.final.mean() - float(Path(self.prior).read_text())).abs()
        return terms
'''

HINT = """
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from hkdsr.methods import Method
from hkdsr.methods.inputs import LossInputs


@dataclass(frozen=True)
class Hint(Method):
    weight: float = 0.5
    kind: Literal["l1", "l2"] = "l1"

    @property
    def feature_depths(self):
        return (0.5, 1.0)

    def heads(self, student, teachers, exits):
        return nn.ModuleList(nn.Conv2d(student.channels, teachers[0].channels, 1) for _ in range(2))

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        pairs = zip(heads, inputs.student.features, inputs.teacher.features)
        return {
            "pixel": (inputs.student.final - inputs.hr).abs().mean(),
            "hint": self.weight * sum((head(s) - t).abs().mean() for head, s, t in pairs),
        }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "hint.py"
    path.parent.mkdir()
    path.write_text(HINT)
    return path


def use(path: Path, name: str = "Hint") -> str:
    return f"{path}:{name}"


def test_a_method_from_a_file_distils(tmp_path: Path, file: Path) -> None:
    method = outside_class(use(file), tmp_path)()
    frozen = tiny.recipe(tmp_path, method, steps=1, lr=0.0)
    distill(dataclasses.replace(frozen, out=tmp_path / "frozen"))
    result = distill(tiny.recipe(tmp_path, method, steps=2))
    before, after = (tiny.state(tmp_path / name)["model"] for name in ("frozen", "out"))
    heads = [name for name in after if name.startswith("heads.")]
    assert len(heads) == 4
    assert all(not torch.equal(before[name], after[name]) for name in (*heads, "student.body.0.weight"))
    assert [list(line["losses"]) for line in read_log(tmp_path / "out")] == [["pixel", "hint"]] * 2
    assert result.steps == 2


def test_a_recipe_names_the_file_relative_to_itself(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[method]\nuse = "elsewhere/hint.py:Hint"\nweight = 2\nkind = "l2"')
    monkeypatch.chdir(file.parent)
    method = read_recipe(recipe, DistillRecipe).method
    assert type(method) is outside_class("hint.py:Hint", file.parent)
    assert str(method) == "Hint(weight=2.0, kind='l2')"
    for text, sentence in (
        ("weight = 'much'", "method.weight is 'much': give a number"),
        ("kind = 'l3'", "method.kind is 'l3': choose one of l1, l2"),
        ("other = 1", "sets 'method.other', which is not a setting: choose from kind, weight"),
    ):
        recipe.write_text(f'[method]\nuse = "elsewhere/hint.py:Hint"\n{text}')
        assert sentence in refusal(lambda: read_recipe(recipe, DistillRecipe))
    recipe.write_text('[method]\nuse = "hint.py:Hint"')
    message = refusal(lambda: read_recipe(recipe, DistillRecipe))
    assert message.startswith(f"{recipe}: cannot read {tmp_path / 'hint.py'} (No such file or directory): set")


def test_a_flag_names_the_file_relative_to_the_current_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    kind = outside_class("hint.py:Hint", file.parent)
    flags = ["--method.use", "hint.py:Hint", "--method.weight", "3", "--scale", "3"]
    recipe = parse_recipe(DistillRecipe, "distill", flags)
    assert recipe == DistillRecipe(scale=3, method=kind(weight=3.0))  # pyright: ignore[reportCallIssue]
    # A recipe with this method keeps its settings.
    assert with_method(recipe, ["--method.use=hint.py:Hint"]) == (recipe, [])
    assert with_method(DistillRecipe(), ["--method.use=hint.py:Hint"])[0].method == kind()
    for wrong in (["--method.use"], ["--method.use="], ["--method.use", "hint.py"]):
        assert "set it to a file and a class" in refusal(lambda wrong=wrong: with_method(recipe, wrong))


def test_settings_have_file_and_hash_and_only_the_hash_must_stay(tmp_path: Path, file: Path) -> None:
    method = outside_class(use(file), tmp_path)()
    flat = flat_settings(DistillRecipe(method=method))
    assert flat["method.name"] == '"Hint"'
    assert json.loads(flat["method.use"]) == use(file)
    assert len(json.loads(flat["method.use_sha256"])) == 64
    lasting = lasting_settings(DistillRecipe(method=method))
    assert {"method.name", "method.use_sha256", "method.weight"} <= lasting.keys()
    assert "method.use" not in lasting
    composed = flat_settings(DistillRecipe(method=compose(Logits(), method)))
    assert composed["method.Hint.use_sha256"] == flat["method.use_sha256"]
    assert "method.use" not in flat_settings(DistillRecipe(method=HKDSR()))


def test_a_run_continues_with_a_moved_file_but_not_with_a_changed_one(tmp_path: Path, file: Path) -> None:
    recipe = tiny.recipe(tmp_path, outside_class(use(file), tmp_path)(), steps=2)
    distill(recipe)
    moved = file.rename(tmp_path / "moved.py")
    again = dataclasses.replace(recipe, method=outside_class(use(moved), tmp_path)())
    assert distill(again).steps == 2
    moved.write_text(HINT.replace("mean()", "square().mean()"))
    changed = dataclasses.replace(recipe, method=outside_class(use(moved), tmp_path)())
    assert type(changed.method) is not type(again.method)
    with pytest.raises(HkdsrError, match=r"begun with other settings \(content of method\.use\)"):
        distill(changed)


def refused(recipe: DistillRecipe, *names: str) -> None:
    message = refusal(lambda: distill(recipe))
    assert f"begun with other settings ({', '.join(names)})" in message


def test_a_run_continues_after_a_file_of_a_setting_has_moved(tmp_path: Path, file: Path) -> None:
    file.write_text(PRIOR)
    prior = outside_class(use(file, "Prior"), tmp_path)
    first, moved = tmp_path / "first.txt", tmp_path / "moved.txt"
    first.write_text("0.5")
    recipe = tiny.recipe(tmp_path, prior(prior=str(first)), steps=2)  # pyright: ignore[reportCallIssue]
    distill(recipe)
    first.rename(moved)
    again = dataclasses.replace(recipe, method=prior(prior=str(moved)))  # pyright: ignore[reportCallIssue]
    assert again.method.more_files == (str(moved),)
    assert distill(again).steps == 2
    moved.write_text("0.4")
    refused(again, "content of method.prior")
    grey = dataclasses.replace(recipe, method=prior(prior="grey"))  # pyright: ignore[reportCallIssue]
    refused(grey, "method.prior", "content of method.prior")


def test_a_value_that_is_not_a_file_must_stay(tmp_path: Path, file: Path) -> None:
    file.write_text(PRIOR)
    prior = outside_class(use(file, "Prior"), tmp_path)
    recipe = tiny.recipe(tmp_path, prior(), steps=1)
    distill(recipe)
    refused(dataclasses.replace(recipe, method=prior(prior="grey")), "method.prior")  # pyright: ignore[reportCallIssue]


def test_several_files_of_one_setting(tmp_path: Path, file: Path) -> None:
    file.write_text(PRIOR)
    prior = outside_class(use(file, "Prior"), tmp_path)
    (tmp_path / "a").write_text("0")
    both, one = (prior(more=more) for more in ((tmp_path / "a", file), (tmp_path / "a", Path("absent"))))  # pyright: ignore[reportCallIssue]
    assert both.more_files == (str(tmp_path / "a"), str(file))
    assert one.more_files == (str(tmp_path / "a"),)
    assert "method.more" not in lasting_settings(DistillRecipe(method=both))
    assert "method.more" in lasting_settings(DistillRecipe(method=one))


def test_nothing_is_written_beside_the_file(tmp_path: Path, file: Path) -> None:
    outside_class(use(file), tmp_path)
    assert list(file.parent.iterdir()) == [file]


METHOD = "from dataclasses import dataclass\nfrom hkdsr.methods import Method, Logits\n"
BODY = "    def losses(self, heads, inputs):\n        return {}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def f(:", "cannot be run (SyntaxError: invalid syntax (hint.py, line 1)): correct the file"),
        ("import nothing_of_that_name", "cannot be run (ModuleNotFoundError: No module named"),
        ("raise RuntimeError('two\\nlines')", "cannot be run (RuntimeError: two lines): correct the file"),
        ("x = 1", "is not defined there: define it"),
        (METHOD, "is not defined there: define it"),
        (METHOD + f"@dataclass(frozen=True)\nclass Mine(Method):\n{BODY}", "is not defined there: choose one of Mine"),
        ("from hkdsr.methods import HKDSR as Hint", "is not defined there: define it"),
        ("class Hint: pass", "is not a method: derive it from hkdsr.methods.Method"),
        ("def Hint(): pass", "is not a method: derive it from hkdsr.methods.Method"),
        (
            METHOD + "@dataclass(frozen=True)\nclass Hint(Method):\n    x: int = 1",
            "has no losses: define",
        ),
        (METHOD + f"class Hint(Method):\n{BODY}", "is not a dataclass: write @dataclass(frozen=True) before it"),
        (
            METHOD + f"@dataclass(frozen=True)\nclass Hint(Method):\n    use: int = 1\n{BODY}",
            "has a setting 'use': rename it",
        ),
        (
            METHOD + f"@dataclass(frozen=True)\nclass Hint(Method):\n    x: int\n{BODY}",
            "without a default: give it a default",
        ),
        (
            METHOD + f"@dataclass(frozen=True)\nclass Hint(Method):\n    x: 'Tensor' = 1\n{BODY}",
            "has a setting of an unknown type (name 'Tensor' is not defined): import",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(text: str, sentence: str, file: Path) -> None:
    file.write_text(text)
    message = refusal(lambda: outside_class(use(file), file.parent))
    assert str(file) in message
    assert sentence in message


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "(Is a directory): set method.use" in refusal(lambda: outside_class(use(tmp_path), tmp_path))


def test_a_file_that_fails_leaves_no_module(file: Path) -> None:
    before = set(sys.modules)
    file.write_text("raise ValueError")
    refusal(lambda: outside_class(use(file), file.parent))
    assert set(sys.modules) == before
