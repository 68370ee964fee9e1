"""Recipes: TOML into dataclasses and back into flat names, and the messages for mistakes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hkdsr.cli.recipes import with_method
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, METHODS, Logits, Plain, compose
from hkdsr.methods.csd import CSD
from hkdsr.methods.mtkd import MTKD
from hkdsr.settings.recipe import Data, DistillRecipe, ExitSettings, Training, TrainRecipe
from hkdsr.settings.resume import flat_settings, lasting_settings
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
        ("[data]\ntrain = 3", "data.train is 3: give a list"),
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
            "sets 'stepz', which is not a setting: choose from data, exits, init, init_from, method, out, scale",
        ),
        ('"a\\nb" = 3', "which is not a setting"),
        (
            "[data]\nfolder = 'x'",
            "sets 'data.folder', which is not a setting: choose from cache, lr, patch, share, train, val, val_images",
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


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_one_path_or_name_stands_for_a_list_of_one(tmp_path: Path) -> None:
    text = "[data]\ntrain = 'a'\nlr = 'b'\n[method]\nname = 'mtkd'\nteachers = 'c.pth'"
    data = Data(train="a", lr=Path("b"))  # pyright: ignore[reportArgumentType]
    method = MTKD(teachers="c.pth")  # pyright: ignore[reportArgumentType]
    assert read(tmp_path, text) == DistillRecipe(data=data, method=method)
    assert data.train == (Path("a"),)
    assert method.more_teachers == ("c.pth",)
    assert "give a list" in refusal(tmp_path, "[training]\nmilestones = 'late'")
    assert "give a list" in refusal(tmp_path, "[training]\nmilestones = 0.5")


def test_a_key_with_many_parts_is_refused_and_a_path_with_many_dots_is_not(tmp_path: Path) -> None:
    assert "a key of more than 16 parts" in refusal(tmp_path, ".".join("a" * 20) + " = 1")
    path = "../" * 20 + "images"
    assert read(tmp_path, f"[data]\ntrain = [\n'{path}',\n]").data.train == (Path(path),)


def test_text_can_stand_for_a_path() -> None:
    data = Data(train=("a", Path("b")), val="v", cache="c")  # pyright: ignore[reportArgumentType]
    assert data == Data(train=(Path("a"), Path("b")), val=Path("v"), cache=Path("c"))
    assert Data(train="a") == Data(train=(Path("a"),))  # pyright: ignore[reportArgumentType]
    assert DistillRecipe(out="o").out == Path("o")  # pyright: ignore[reportArgumentType]


def test_flat_settings_name_every_field_once() -> None:
    flat = flat_settings(DistillRecipe(out=Path("runs/x"), data=Data(train=(Path("a"), Path("b")))))
    assert flat["training.steps"] == "20000"
    assert flat["training.betas"] == "[0.9, 0.99]"
    assert flat["training.threads"] == "null"
    assert flat["out"] == '"runs/x"'
    assert flat["data.train"] == '["a", "b"]'
    assert flat["method.name"] == '"hkdsr"'
    assert flat["method.sim_w"] == "0.2"
    assert all(isinstance(json.loads(text), str | int | float | list | None) for text in flat.values())
    nested = (Data, Training, ExitSettings, HKDSR)
    fields = sum(len(dataclasses.fields(kind)) for kind in nested) + len(dataclasses.fields(DistillRecipe)) - 4
    assert len(flat) == fields + 1


def test_flat_settings_differ_where_recipes_do() -> None:
    base = flat_settings(DistillRecipe())
    other = flat_settings(DistillRecipe(training=Training(lr=2e-4), method=HKDSR(fsm_levels=(1,))))
    assert {name for name in base if base[name] != other[name]} == {"training.lr", "method.fsm_levels"}
    assert flat_settings(DistillRecipe(method=Plain()))["method.name"] == '"none"'


def test_lasting_settings_leave_out_files_and_unused_exits() -> None:
    flat = flat_settings(DistillRecipe())
    with_exits = lasting_settings(DistillRecipe())
    assert with_exits.items() <= flat.items()
    assert {"init", "student", "scale", "training.steps", "method.sim_w", "exits.kind"} <= with_exits.keys()
    assert not {"teacher", "data.train", "init_from", "out", "data.cache"} & with_exits.keys()
    for method in (HKDSR(kd_on_intermediate=False), Logits()):
        without = lasting_settings(DistillRecipe(method=method))
        assert [name for name in without if name.startswith("exits.")] == ["exits.teacher_images"]
    assert not [name for name in lasting_settings(DistillRecipe(method=Plain())) if name.startswith("exits.")]
    assert lasting_settings(DistillRecipe(method=Plain(exit_weight=1.0)))["exits.kind"] == '"separate"'
    assert lasting_settings(TrainRecipe())["init"] == '"scratch"'
    for method in (MTKD(teachers=("a.pth",)), compose(Logits(), MTKD(teachers=("a.pth",)))):
        assert not [name for name in lasting_settings(DistillRecipe(method=method)) if name.endswith("teachers")]


def test_the_name_of_a_file_may_change_and_another_value_may_not(tmp_path: Path) -> None:
    (tmp_path / "vgg19.pth").write_bytes(b"")
    assert lasting_settings(DistillRecipe(method=CSD()))["method.features"] == '"teacher"'
    by_file = CSD(features=str(tmp_path / "vgg19.pth"))
    assert by_file.more_files == (str(tmp_path / "vgg19.pth"),)
    assert "method.features" not in lasting_settings(DistillRecipe(method=by_file))
    assert "method.csd.features" not in lasting_settings(DistillRecipe(method=compose(Logits(), by_file)))


def test_a_method_of_ones_own_has_its_class_name() -> None:
    class Mine(Plain):
        pass

    assert flat_settings(DistillRecipe(method=Mine()))["method.name"] == '"Mine"'


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
