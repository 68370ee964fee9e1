"""The pruned start in real runs: made once, kept by hash, the same for every method and process, and never twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image

from hkdsr.data import rgb
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits, Plain
from hkdsr.nets.files.load import digest, load, save
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training import run
from hkdsr.training.run import distill

PRUNED = "compact:features=3,convs=3"


def recipe_of(folder: Path, **training: Any) -> DistillRecipe:
    """HR images that repeat every pixel of LR, as the teacher nearly does: a start is better than bicubic there."""
    if not (folder / "lr").exists():
        tiny.photographs(folder / "lr", height=28, width=33)
        (folder / "images").mkdir()
        for path in (folder / "lr").iterdir():
            Image.fromarray(rgb(path).repeat(2, 0).repeat(2, 1)).save(folder / "images" / path.name)
        torch.manual_seed(0)
        teacher = tiny.nearest(2)
        for parameter in teacher.body[-1].parameters():
            torch.nn.init.normal_(parameter, std=1e-3)
        save(teacher, folder / "teacher.safetensors")
    recipe = tiny.data(tiny.recipe(folder, **training), lr=(folder / "lr",))
    return dataclasses.replace(recipe, student=PRUNED, init="prune")


def begun(recipe: DistillRecipe) -> str:
    """The digest of the student that a run begins with."""
    frozen = dataclasses.replace(recipe.training, steps=1, lr=0.0)
    return digest(distill(dataclasses.replace(recipe, training=frozen)).network.state_dict())


def test_every_method_and_seed_begins_with_the_one_start_in_the_cache(tmp_path: Path) -> None:
    starts = set()
    for index, method in enumerate((Plain(), Logits(), HKDSR())):
        recipe = dataclasses.replace(recipe_of(tmp_path, seed=index), method=method, out=tmp_path / str(index))
        starts.add(begun(recipe))
    (file,) = (tmp_path / "cache").glob("pruned-*.safetensors")
    assert starts == {digest(load(file).state_dict())}


def test_another_student_has_another_start(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    begun(recipe)
    begun(dataclasses.replace(recipe, student="compact:features=2,convs=3", out=tmp_path / "other"))
    assert len(list((tmp_path / "cache").glob("pruned-*.safetensors"))) == 2


def test_a_continued_run_needs_no_start(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, steps=4, save_every=2)
    whole = distill(dataclasses.replace(recipe, out=tmp_path / "whole"))

    with pytest.raises(tiny.Killed):
        distill(recipe, tiny.KilledAt(3))
    for file in (tmp_path / "cache").glob("pruned-*"):
        file.unlink()
    assert digest(distill(recipe).network.state_dict()) == digest(whole.network.state_dict())
    assert not list((tmp_path / "cache").glob("pruned-*"))


def test_a_start_no_better_than_bicubic_is_refused(tmp_path: Path) -> None:
    """The tiny teacher has learnt nothing."""
    recipe = dataclasses.replace(tiny.recipe(tmp_path), student="edsr:features=4,blocks=3", init="prune")
    with pytest.raises(HkdsrError, match=r"^the pruned start gives \d+\.\d\d dB .* enlargement \d+\.\d\d dB: give"):
        distill(recipe)
    assert not list((tmp_path / "cache").glob("pruned-*"))


def test_a_teacher_of_another_family_is_refused_before_any_image_is_read(tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe_of(tmp_path), student="edsr:features=4,blocks=3")
    with pytest.raises(
        HkdsrError, match=r"^init is 'prune' but the teacher is of family compact and the student of edsr"
    ):
        distill(recipe)
    assert not (tmp_path / "cache").exists()


def test_a_start_from_random_weights_names_the_better_one_where_there_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for student, hinted in (
        (PRUNED, True),
        ("compact:features=9,convs=3", False),
        ("edsr:features=4,blocks=3", False),
    ):
        recipe = dataclasses.replace(recipe_of(tmp_path), student=student, init="scratch", out=tmp_path / student[:18])
        for session in ("first", "continued"):
            caplog.clear()
            begun(recipe)
            assert ("init = 'prune' is a better start" in caplog.text) == (hinted and session == "first"), student
    caplog.clear()
    distill(dataclasses.replace(recipe_of(tmp_path, steps=1), init="scratch", out=tmp_path / "row"), extend=False)
    assert "init = 'prune'" not in caplog.text


def test_asking_whether_a_student_can_be_pruned_draws_no_random_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(recipe_of(tmp_path), init="scratch", method=HKDSR())
    asked = begun(dataclasses.replace(recipe, out=tmp_path / "asked"))
    monkeypatch.setattr(run, "has_better_start", lambda recipe, parts: False)
    assert begun(dataclasses.replace(recipe, out=tmp_path / "not asked")) == asked
