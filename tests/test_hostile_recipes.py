"""Recipes and flags as people write them: read as meant, or refused in one short sentence, whatever they hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import command, images, refusal, refused

from hkdsr.settings.recipe import TrainRecipe
from hkdsr.settings.toml import read_recipe


def recipe(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


DEPTHS = {
    "arrays": lambda depth: "student = " + "[" * depth + "]" * depth,
    "open arrays": lambda depth: "student = " + "[" * depth,
    "tables": lambda depth: "training = " + "{a = " * depth + "1" + "}" * depth,
    "dotted keys": lambda depth: ".".join(["a"] * depth) + " = 1",
    "dotted table": lambda depth: "[" + ".".join(["a"] * depth) + "]",
}


@pytest.mark.parametrize("kind", DEPTHS)
@pytest.mark.parametrize("depth", [200, 5000])
def test_deep_nesting(kind: str, depth: int, tmp_path: Path) -> None:
    path = recipe(tmp_path, DEPTHS[kind](depth))
    said = refusal(lambda: read_recipe(path, TrainRecipe))
    assert "recipe.toml" in said
    assert "recursion" not in said


@pytest.mark.parametrize(
    "text",
    [
        f"{'k' * 100_000} = 1",
        f"[training]\nsteps = '{'v' * 100_000}'",
        f"[training]\nprecision = '{'v' * 100_000}'",
        f"student = '{'v' * 100_000}'\nscale = 'x'",
        f"scale = [{'1, ' * 50_000}]",
        '"a\\nb" = 1',
        'scale = "a\\nb"',
        '[training]\nprecision = "a\\nb"',
        "\0",
        "scale = 9" + "9" * 5000,
        "scale = 1e400",
        "training.lr = nan",
        "training.lr = inf",
        "training.betas = [1]",
        "scale = 1979-05-27",
        "data = []",
        "data.train = [[]]",
        "training.milestones = ['a']",
        "\ufeff\ufeffscale = 2",
        "scale = 2\nscale = 2",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_odd_recipes_get_one_short_sentence(text: str, tmp_path: Path) -> None:
    path = recipe(tmp_path, text)
    assert "recipe.toml" in refusal(lambda: read_recipe(path, TrainRecipe))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"scale = '\xff'", b"\x1f\x8b\x08", b"\0" * 9])
def test_bytes_that_are_no_text(content: bytes, tmp_path: Path) -> None:
    path = recipe(tmp_path, content)
    assert "recipe.toml" in refusal(lambda: read_recipe(path, TrainRecipe))


@pytest.mark.parametrize("encoding", ["utf-8-sig"])
def test_a_byte_order_mark_is_no_mistake(encoding: str, tmp_path: Path) -> None:
    path = recipe(tmp_path, "scale = 3\n".encode(encoding))
    assert read_recipe(path, TrainRecipe).scale == 3


def test_utf_16_is_named(tmp_path: Path) -> None:
    path = recipe(tmp_path, "scale = 3\n".encode("utf-16"))
    assert "UTF-8" in refusal(lambda: read_recipe(path, TrainRecipe))


@pytest.mark.parametrize("name", ["D:\\new\\table", "D:\\temp", "C:\\Users\\me", "E:\\data"])
@pytest.mark.parametrize("setting", ["data.train = [{}]", "out = {}", "data.val = {}", "student = {}"])
def test_a_backslash_in_double_quotes_is_explained(setting: str, name: str, tmp_path: Path) -> None:
    path = recipe(tmp_path, setting.format(f'"{name}"'))
    sentence = refusal(lambda: read_recipe(path, TrainRecipe))
    assert "single quotes" in sentence
    single = read_recipe(recipe(tmp_path, setting.format(f"'{name}'")), TrainRecipe)
    assert repr(name)[1:-1] in str(single)


@pytest.mark.parametrize("name", ["x" * 300 + ".toml", "x" * 5000 + ".toml", "a/" * 2500 + "r.toml", "nul\0.toml"])
def test_paths_that_no_system_has(name: str, tmp_path: Path) -> None:
    refusal(lambda: read_recipe(tmp_path / name, TrainRecipe))
    folders = ("--out", tmp_path / "out", "--data.cache", tmp_path / "cache")
    refused("train", "--data.train", name, *folders)
    refused("train", "--student", name, "--data.train", tmp_path, *folders)
    refused("train", "--data.train", images(tmp_path / "a", "1.png"), "--data.val", name, *folders)
    assert not (tmp_path / "out").exists()


def test_a_folder_for_a_recipe(tmp_path: Path) -> None:
    refused("train", tmp_path)


HOME = (
    ("--out=~/out", "out"),
    ("--data.cache=~/cache", "cache"),
    ("--data.train=~/images", None),
    ("--data.val=~/images", None),
)


@pytest.mark.parametrize(("flag", "made"), HOME)
def test_a_tilde_is_the_home_folder(
    flag: str, made: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    images(home / "images", "1.png")
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    name = flag.partition("=")[0]
    usual = {"--out": home / "out", "--data.cache": home / "cache", "--data.train": home / "images"}
    rest = [f"{other}={path}" for other, path in usual.items() if other != name]
    settings = ("--student", "compact:features=4,convs=1", "--training.steps", "1", "--data.patch", "8")
    ended = command("train", flag, *rest, *settings, "--training.device", "cpu")
    assert ended.code == 0, ended.said
    assert not list((tmp_path / "here").iterdir())
    assert made is None or (home / made).is_dir()


def test_and_for_the_other_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path / "sets" / "Set9", "1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert command("evaluate", "bicubic", "--scale", "2", "--root=~/sets", "--sets", "Set9").code == 0
    image = "~/sets/Set9/1.png"
    assert command("upscale", image, "--output=~/large.png").code == 0
    assert command("strip", image, "small_x2", "--side", "16", "--output=~/strip.png").code == 0
    assert (tmp_path / "large.png").is_file()
    assert (tmp_path / "strip.png").is_file()
    assert not list((tmp_path / "here").iterdir())
