"""What the README tells people to type works: its commands and its Python, on small files of the names it uses."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from PIL import Image

import hkdsr
from hkdsr.cli.main import COMMANDS, main
from hkdsr.data import rgb
from hkdsr.data.embedded import demo_files
from hkdsr.nets.files.load import build, save
from hkdsr.settings.recipe import Data, DistillRecipe, ExitSettings, Training

README = (REPOSITORY / "README.md").read_text("utf-8")
FEW = ("--training.steps", "2", "--training.batch", "2", "--data.patch", "16", "--exits.stage1-steps", "2")
LABELLED = ("--data.patch", "16", "--data.cache", "cache")
SMALL = (*FEW, "--exits.allow-weak", "--training.device", "cpu", "--data.cache", "cache")


def commands() -> list[list[str]]:
    """Those of hkdsr itself, without comments."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ hkdsr ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of the README's names."""
    monkeypatch.chdir(tmp_path)
    photo = rgb(demo_files()[1]["coffee"])[100:172, 200:280]
    for name in ("photos/a.png", "images/a.png", "images/b.png", "benchmarks/Set5/a.png", "benchmarks/Set14/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(tmp_path / name)
    for name in ("photo.jpg", "photo.png"):
        Image.fromarray(photo).save(tmp_path / name)
    torch.manual_seed(0)
    save(build("compact:features=4,convs=4", 2), tmp_path / "teacher.safetensors")
    torch.save(build("compact:features=4,convs=4", 2).state_dict(), tmp_path / "teacher.pth")
    return tmp_path


def test_every_command_is_shown() -> None:
    assert {words[0] for words in commands()} >= COMMANDS.keys() - {"train"}


def test_the_commands_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A study takes hours, and the page waits for Ctrl-C.
    shown = [words for words in commands() if words[0] not in ("app", "compare") or "--published" in words]
    assert len(shown) >= 8
    for words in shown:
        more = {"distill": SMALL, "label": LABELLED}.get(words[0], ())
        monkeypatch.setattr(sys, "argv", ["hkdsr", *words, *more])
        main()
    assert (folder / "photo_x2.png").exists()
    assert (folder / "large" / "a.png").exists()
    assert (folder / "strip.png").exists()
    assert (folder / "small_x2.onnx").exists()
    with Image.open(folder / "photo_x2.png") as large:
        assert large.size == (160, 144)


def test_the_studies_named_are_there() -> None:
    studies = [words[1] for words in commands() if words[0] == "compare" and words[1].endswith(".toml")]
    assert studies
    assert all((REPOSITORY / name).is_file() for name in studies)


def test_the_python_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    few = Training(steps=2, batch=2, device="cpu")
    exits = ExitSettings(stage1_steps=2, allow_weak=True)

    def recipe(teacher: str, data: Data) -> DistillRecipe:
        own = Data(train=data.train, patch=16, cache=folder / "cache")
        return DistillRecipe(teacher=teacher, data=own, training=few, exits=exits, out=folder / "run")

    monkeypatch.setattr(hkdsr, "DistillRecipe", recipe)
    found: dict[str, object] = {}
    exec(block, found)
    assert [score.name for score in found["scores"]] == ["Set5", "Set14"]  # pyright: ignore
    large = found["large"]
    assert isinstance(large, np.ndarray)
    assert large.shape == (144, 160, 3)
