"""The pruned start in real runs: made once, kept by hash, the same for every method and process, and never twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny

from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits, Plain
from hkdsr.nets.files.load import digest, load
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training import pruned
from hkdsr.training.distiller import Distiller
from hkdsr.training.run import distill

PRUNED = "edsr:features=4,blocks=3"


def recipe_of(folder: Path, **training: Any) -> DistillRecipe:
    recipe = tiny.recipe(folder, **training)
    return dataclasses.replace(recipe, student=PRUNED, init="prune")


@pytest.fixture(autouse=True)
def any_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny teacher has learnt nothing, so no start of its student is better than bicubic enlargement."""
    monkeypatch.setattr(pruned, "_bicubic", lambda *_: 0.0)


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
    begun(dataclasses.replace(recipe, student="edsr:features=5,blocks=3", out=tmp_path / "other"))
    assert len(list((tmp_path / "cache").glob("pruned-*.safetensors"))) == 2


def test_a_continued_run_needs_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(tmp_path, steps=4, save_every=2)
    whole = distill(dataclasses.replace(recipe, out=tmp_path / "whole"))

    def killed(self: Distiller, step: int) -> None:
        if step == 3:
            raise tiny.Killed

    with monkeypatch.context() as patch:
        patch.setattr(Distiller, "before_step", killed)
        with pytest.raises(tiny.Killed):
            distill(recipe)
    for file in (tmp_path / "cache").glob("pruned-*"):
        file.unlink()
    assert digest(distill(recipe).network.state_dict()) == digest(whole.network.state_dict())
    assert not list((tmp_path / "cache").glob("pruned-*"))


def test_a_start_no_better_than_bicubic_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruned, "_bicubic", lambda *_: 99.0)
    with pytest.raises(HkdsrError, match=r"^the pruned start gives \d+\.\d\d dB .* enlargement 99\.00 dB: give"):
        distill(recipe_of(tmp_path))
    assert not list((tmp_path / "cache").glob("pruned-*"))


def test_a_teacher_of_another_family_is_refused_before_any_image_is_read(tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe_of(tmp_path), student="compact:features=4,convs=4")
    with pytest.raises(HkdsrError, match=r"^init is 'prune' but the teacher is of family edsr and the student of comp"):
        distill(recipe)
    assert not (tmp_path / "cache").exists()
