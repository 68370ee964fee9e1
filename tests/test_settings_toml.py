"""Recipes: TOML into dataclasses and back into flat names, and the messages for mistakes."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, METHODS, Logits, Plain
from hkdsr.methods.fakd import FAKD
from hkdsr.methods.mtkd import MTKD
from hkdsr.settings.recipe import Data, DistillRecipe, ExitSettings, Training, TrainRecipe
from hkdsr.settings.resume import flat_settings
from hkdsr.settings.toml import read_recipe

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.toml"))
CHOICES = f"choose one of {', '.join(METHODS)}"
Kind = TypeVar("Kind", TrainRecipe, DistillRecipe)


def read(folder: Path, text: str, kind: type[Kind] = DistillRecipe) -> Kind:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path, kind)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(HkdsrError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert str(folder / "recipe.toml") in message
    assert "\n" not in message
    return message


def test_every_setting_of_a_recipe_arrives(tmp_path: Path) -> None:
    recipe = read(
        tmp_path,
        """
        teacher = "teacher.pth"
        scale = 3
        out = "~/runs/a"
        [data]
        train = ["a", "b/c"]
        val = "v"
        patch = 32
        [training]
        steps = 10
        lr = 1
        betas = [0.8, 0]
        milestones = [0.5, 0.75, 0.9]
        precision = "fp32"
        threads = 1
        tensorboard = true
        [exits]
        student = [0.25, 0.5]
        kind = "shared"
        """,
    )
    assert recipe == DistillRecipe(
        teacher="teacher.pth",
        scale=3,
        out=Path.home() / "runs" / "a",
        data=Data(train=(Path("a"), Path("b/c")), val=Path("v"), patch=32),
        training=Training(
            steps=10,
            lr=1.0,
            betas=(0.8, 0.0),
            milestones=(0.5, 0.75, 0.9),
            precision="fp32",
            threads=1,
            tensorboard=True,
        ),
        exits=ExitSettings(student=(0.25, 0.5), kind="shared"),
    )
    assert all(isinstance(value, float) for value in (recipe.training.lr, *recipe.training.betas))


def test_an_empty_file_is_the_default_recipe(tmp_path: Path) -> None:
    assert read(tmp_path, "") == DistillRecipe()
    assert read(tmp_path, "", TrainRecipe) == TrainRecipe()


def test_the_method_table_chooses_class_and_settings(tmp_path: Path) -> None:
    assert read(tmp_path, '[method]\nname = "none"\nexit_weight = 2').method == Plain(exit_weight=2.0)
    assert read(tmp_path, '[method]\nname = "logits"').method == Logits()
    text = '[method]\nname = "hkdsr"\nfsm_levels = [1, 2, 3]\nada_w = 0\nfsm_crop = 96\nacf_pool = "global"'
    assert read(tmp_path, text).method == HKDSR(fsm_levels=(1, 2, 3), ada_w=0.0, fsm_crop=96, acf_pool="global")


def test_the_start_arrives(tmp_path: Path) -> None:
    assert read(tmp_path, "init = 'slice'") == DistillRecipe(init="slice")
    text = "init = 'student'\ninit_from = 'runs/x2/student.safetensors'"
    path = Path("runs/x2/student.safetensors")
    assert read(tmp_path, text) == DistillRecipe(init="student", init_from=path)
    assert read(tmp_path, text, TrainRecipe) == TrainRecipe(init="student", init_from=path)
    with pytest.raises(HkdsrError, match="init is 'slice': choose one of scratch, student"):
        read(tmp_path, "init = 'slice'", TrainRecipe)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("scale = 'two'", "scale is 'two': give a whole number"),
        ("scale = 2.0", "scale is 2.0: give a whole number"),
        ("scale = true", "scale is True: give a whole number"),
        ("teacher = 3", "teacher is 3: give text"),
        ("[training]\nlr = 'fast'", "training.lr is 'fast': give a number"),
        ("[training]\nlr = true", "training.lr is True: give a number"),
        ("[training]\ntensorboard = 1", "training.tensorboard is 1: give true or false"),
        ("[training]\nbetas = [0.9]", r"training.betas is [0.9]: give 2 values"),
        ("[training]\nbetas = 0.9", "training.betas is 0.9: give a list"),
        ("[training]\nmilestones = ['late']", "training.milestones is 'late': give a number"),
        ("[training]\nprecision = 'fp8'", "training.precision is 'fp8': choose one of auto, fp32, bf16"),
        ("training = 3", "training is 3: give a table"),
        ("[data]\ntrain = 3", "data.train is 3: give text"),
        ("[data]\ntrain = {}", "data.train is {}: give a list"),
        ("[training]\nmilestones = 'late'", "training.milestones is 'late': give a number"),
        ("[data]\nval = 1", "data.val is 1: give text"),
        ("[exits]\nkind = ['shared']", "exits.kind is ['shared']: choose one of separate, shared, teacher_tail"),
        ("method = 'hkdsr'", "method is 'hkdsr': give a table"),
        ("[method]\nsim_w = 1", f"method.name is None: {CHOICES}"),
        ("[method]\nname = 'fancy'", f"method.name is 'fancy': {CHOICES}"),
        ("[method]\nname = ['hkdsr', 'fancy']", f"method.name is ['hkdsr', 'fancy']: {CHOICES}"),
        ("[method]\nname = [['hkdsr']]", f"method.name is [['hkdsr']]: {CHOICES}"),
        ("[method]\nname = 'hkdsr,logits'", f"method.name is 'hkdsr,logits': {CHOICES}"),
        ("[method]\nname = []", "method.name is an empty list: name at least one method"),
        ("[method]\nname = ['none', 'none']", "method.name has 'none' twice: name each method once"),
        (
            "[method]\nname = ['none']\nexit_weight = 1",
            "sets 'method.exit_weight', which is not a setting: choose from none",
        ),
        ("[method]\nname = ['none']\nnone = 1", "method.none is 1: give a table"),
        ("[method]\nname = ['none']\n[method.none]\nexit_weigth = 1", "sets 'method.none.exit_weigth', which is no"),
        ("[method]\nname = 'none'\nuse = 'a.py:A'", "sets both method.name and method.use: leave one of them out"),
        ("[method]\nuse = 3", "method.use is 3: give text"),
        ("[method]\nuse = 'a.py'", "method.use is 'a.py': set it to a file and a class in it, as my_method.py:MyKD"),
        ("init = 'teacher'", "init is 'teacher': choose one of scratch, slice, drop, prune, student"),
        ("init = 'student'", "init is 'student' but init_from is not set: set it to a checkpoint of the same network"),
        (
            "init_from = 'x2.pth'",
            "init_from is set but init is 'scratch': set init to 'student' or leave init_from out",
        ),
        (
            "[method]\nname = 'none'\nsim_w = 1.0",
            "sets 'method.sim_w', which is not a setting: choose from exit_weight",
        ),
        ("[method]\nname = 'hkdsr'\nfsm_levels = [2.5]", "method.fsm_levels is 2.5: give a whole number"),
        ("[method]\nname = 'hkdsr'\nfsm_crop = 0", "method.fsm_crop is 0: set it to 1 or more"),
        (
            "stepz = 3",
            "sets 'stepz', which is not a setting: choose from allow_odd_teacher, budget, data, degrade, exits, init",
        ),
        ('"a\\nb" = 3', "which is not a setting"),
        (
            "[data]\nfolder = 'x'",
            "sets 'data.folder', which is not a setting: choose from cache, lr, lr_only, patch, share, train, val",
        ),
        ("scale = ", "is not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "new"),
    [("[data]\nval_pictures = 3", "data.val_images"), ("[exits]\npictures = 'live'", "exits.teacher_images")],
)
def test_an_old_name_is_refused_with_the_new_one(tmp_path: Path, text: str, new: str) -> None:
    old = text.replace("]\n", ".").strip("[").split(" = ")[0]
    assert refusal(tmp_path, text).endswith(f"sets '{old}', which is now called '{new}': rename it")
    assert new in flat_settings(DistillRecipe())
    assert old not in flat_settings(DistillRecipe())


def test_a_training_recipe_has_no_method(tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match="sets 'method', which is not a setting"):
        read(tmp_path, "[method]\nname = 'none'", TrainRecipe)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"teacher = '\xe9'")
    for name, remedy in (
        ("none.toml", "check the path"),
        (".", "check the path"),
        ("latin.toml", "save it with the encoding UTF-8"),
    ):
        with pytest.raises(HkdsrError, match=remedy) as caught:
            read_recipe(tmp_path / name, DistillRecipe)
        assert str(tmp_path / name) in str(caught.value)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["scale", "teacher", "training.lr", "training.betas", "training.threads", "data.train", "data"])
    | st.sampled_from(["exits.kind", "method", "method.name", "method.fsm_levels", "method.ada_w", "new", "data.new"]),
    st.recursive(
        st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab\n'", max_size=4),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_leaves=4,
    ),
)
def test_any_value_is_taken_or_refused_in_one_sentence(tmp_path: Path, name: str, value: object) -> None:
    def toml(item: object) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in item.items()) + "}"
        if isinstance(item, list):
            return f"[{', '.join(map(toml, item))}]"
        return json.dumps(item)

    text = f"{name} = {toml(value)}\n"
    if name.startswith("method.") and name != "method.name":
        text += 'method.name = "hkdsr"\n'
    message = "recipe.toml"
    try:
        read(tmp_path, text)
    except HkdsrError as error:
        message = str(error)
    assert "recipe.toml" in message
    assert "\n" not in message


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_loads(path: Path) -> None:
    kind = DistillRecipe if "teacher" in path.read_text() else TrainRecipe
    recipe = read_recipe(path, kind)
    assert recipe.data.train
    assert recipe != kind()


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize(
    ("text", "recipe"),
    [
        ("[data]\ntrain = 'a'\nlr = 'b'", {"data": Data(train="a", lr=Path("b"))}),  # pyright: ignore
        ("[data]\ntrain = ['a', 'c']", {"data": Data(train=["a", Path("c")])}),  # pyright: ignore
        ("[training]\nmilestones = 0.5", {"training": Training(milestones=0.5)}),  # pyright: ignore
        ("[exits]\nstudent = 0.5\nteacher = 0.5", {"exits": ExitSettings(0.5, 0.5)}),  # pyright: ignore
        ("[method]\nname = 'hkdsr'\nfsm_levels = 1", {"method": HKDSR(fsm_levels=1)}),  # pyright: ignore
        ("[method]\nname = 'fakd'\ndepths = 1", {"method": FAKD(depths=1)}),  # pyright: ignore
        ("[method]\nname = 'mtkd'\nteachers = 'c.pth'", {"method": MTKD(teachers="c.pth")}),  # pyright: ignore
    ],
)
def test_one_value_stands_for_a_list_of_one_as_in_python(tmp_path: Path, text: str, recipe: dict[str, Any]) -> None:
    found, expected = read(tmp_path, text), DistillRecipe(**recipe)
    assert found == expected
    for name in recipe:
        settings = getattr(expected, name)
        several = [field for field in fields(settings) if isinstance(field.default, tuple)]
        assert several
        assert all(type(getattr(settings, field.name)) is tuple for field in several)


def test_two_values_are_not_one() -> None:
    with pytest.raises(HkdsrError, match=r"^training\.betas is \(0\.9,\): set two values of 0 or more, below 1$"):
        Training(betas=0.9)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("setting", "value"), [("fsm_norm", "none"), ("probability", 0.3)])
def test_a_setting_that_is_gone_is_refused_with_its_value(tmp_path: Path, setting: str, value: object) -> None:
    text = f"[method]\nname = 'hkdsr+'\n{setting} = {json.dumps(value)}"
    assert refusal(tmp_path, text).endswith(f"sets 'method.{setting}', which is now always {value!r}: leave it out")
    other = "hkdsr" if setting == "fsm_norm" else "dukd"
    assert read(tmp_path, text.replace("hkdsr+", other)).method == METHODS[other]()


def test_a_key_with_many_parts_is_refused_and_a_path_with_many_dots_is_not(tmp_path: Path) -> None:
    assert "a key of more than 16 parts" in refusal(tmp_path, ".".join("a" * 20) + " = 1")
    path = "../" * 20 + "images"
    assert read(tmp_path, f"[data]\ntrain = [\n'{path}',\n]").data.train == (Path(path),)


def test_text_can_stand_for_a_path() -> None:
    data = Data(train=("a", Path("b")), val="v", cache="c")  # pyright: ignore[reportArgumentType]
    assert data == Data(train=(Path("a"), Path("b")), val=Path("v"), cache=Path("c"))
    assert Data(train="a") == Data(train=(Path("a"),))  # pyright: ignore[reportArgumentType]
    assert DistillRecipe(out="o").out == Path("o")  # pyright: ignore[reportArgumentType]
