"""Several sizes from one recipe: their order and starts, killed and continued, in parts, and their table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_training_pruned import recipe_of

from hkdsr.cli.main import main
from hkdsr.errors import HkdsrError
from hkdsr.methods import Logits, Plain
from hkdsr.nets.base import parameter_count
from hkdsr.nets.files.load import build, digest, load
from hkdsr.nets.start.prune.prune import prune
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training import sizes
from hkdsr.training.distiller import Distiller
from hkdsr.training.images import image_store
from hkdsr.training.log import read_log
from hkdsr.training.run import distill
from hkdsr.training.sessions import read_sessions
from hkdsr.training.sizes import distill_sizes, table
from hkdsr.training.start_crops import start_crops
from hkdsr.training.validate import Validation

SMALLER, LARGER = "compact:features=2,convs=2", "compact:features=3,convs=3"
FOLDERS = ("compact-features-3-convs-3", "compact-features-2-convs-2")


def of_sizes(folder: Path, **training: Any) -> DistillRecipe:
    """Two sizes, the smaller one named first."""
    return dataclasses.replace(recipe_of(folder, steps=4, save_every=2, **training), students=(SMALLER, LARGER))


def weights(folder: Path) -> list[str]:
    return [digest(load(folder / name / "student.safetensors").state_dict()) for name in FOLDERS]


def stored_recipe(folder: Path) -> dict[str, Any]:
    flat = json.loads(tiny.metadata(folder / "student.safetensors")["recipe"])
    return {name: json.loads(text) for name, text in flat.items()}


def test_the_largest_is_trained_first_and_the_smaller_one_pruned_out_of_it(tmp_path: Path) -> None:
    """Steps of no size, so that each size is what it starts from."""
    recipe = of_sizes(tmp_path, lr=0.0)
    first, second = distill_sizes(recipe)
    assert (first.name, second.name) == (LARGER, SMALLER)
    alone = distill(dataclasses.replace(recipe, students=(), student=LARGER, out=tmp_path / "alone"))
    assert digest(first.result.network.state_dict()) == digest(alone.network.state_dict())

    crops, student = start_crops(image_store(recipe)), build(SMALLER, 2)
    prune(student, load(alone.weights).requires_grad_(False), crops.lr, crops.hr)
    assert digest(second.result.network.state_dict()) == digest(student.state_dict())
    assert stored_recipe(recipe.out / FOLDERS[1])["teacher"] == recipe.teacher


def test_sizes_of_other_families_start_as_the_recipe_says(tmp_path: Path) -> None:
    recipe = dataclasses.replace(of_sizes(tmp_path), init="scratch", students=("edsr:features=4,blocks=2", SMALLER))
    (first, second) = distill_sizes(recipe)
    assert first.result.network.family == "edsr"
    alone = distill(dataclasses.replace(recipe, students=(), student=SMALLER, out=tmp_path / "alone"))
    assert digest(second.result.network.state_dict()) == digest(alone.network.state_dict())


def test_a_killed_session_goes_on_and_trains_no_finished_size_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = of_sizes(tmp_path)
    whole = dataclasses.replace(recipe, out=tmp_path / "whole")
    distill_sizes(whole)

    def killed_in_the_smaller(part: DistillRecipe) -> object:
        return distill(part, tiny.KilledAt(3 if part.student == SMALLER else -1))

    with monkeypatch.context() as changed:
        changed.setattr(sizes, "distill", killed_in_the_smaller)
        with pytest.raises(tiny.Killed):
            distill_sizes(recipe)
    distill_sizes(recipe)
    assert weights(recipe.out) == weights(whole.out)
    assert [len(read_sessions(recipe.out / name)) for name in FOLDERS] == [1, 2]

    with pytest.raises(HkdsrError, match=r"out was begun for .*, not for .*: set that again, or change 'out'"):
        distill_sizes(dataclasses.replace(recipe, students=(LARGER,)))


def test_more_steps_for_all(tmp_path: Path) -> None:
    """The larger size is another one then, but the smaller one began before."""
    recipe = of_sizes(tmp_path)
    distill_sizes(recipe)
    before = weights(recipe.out)
    longer = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, steps=6))
    assert [size.result.steps for size in distill_sizes(longer)] == [6, 6]
    assert not set(before) & set(weights(recipe.out))


def test_a_session_that_ends_early_begins_no_smaller_size(tmp_path: Path) -> None:
    (only,) = distill_sizes(of_sizes(tmp_path, minutes=0.0))
    assert (only.name, only.result.steps) == (LARGER, 1)


def test_budgets_choose_students_that_can_be_pruned_out_of_one_another(tmp_path: Path) -> None:
    budgets = ("1500 params", "4k params")
    recipe = dataclasses.replace(of_sizes(tmp_path), init="scratch", students=budgets)
    first, second = distill_sizes(recipe)
    assert [first.name, second.name] == ["4k params", "1500 params"]
    assert parameter_count(first.result.network) <= 4000
    assert parameter_count(second.result.network) <= 1500
    assert first.result.network.family == second.result.network.family
    assert stored_recipe(recipe.out / "1500-params")["init"] == "prune"
    assert json.loads((recipe.out / "chosen.json").read_text()) == {s.name: s.student for s in (first, second)}


def test_the_table_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny.data(of_sizes(tmp_path), val=tmp_path / "images", val_images=2)
    found = distill_sizes(recipe)
    words = ["distill", "--teacher", str(recipe.teacher), "--init", "prune", "--students", f"{SMALLER},{LARGER}"]
    words += ["--out", str(recipe.out), "--data.train", str(recipe.data.train[0]), "--data.lr", str(recipe.data.lr[0])]
    words += [
        *tiny.UNTRAINED,
        "--data.patch",
        "12",
        "--data.cache",
        str(recipe.data.cache),
        "--data.val",
        str(tmp_path / "images"),
    ]
    words += ["--data.val-images", "2", "--training.steps", "4", "--training.batch", "3", "--training.lr", "1e-3"]
    words += ["--training.ema", "0.9", "--training.seed", "3", "--training.device", "cpu", "--method.name", "none"]
    monkeypatch.setattr("sys.argv", ["hkdsr", *words])
    main()
    assert capsys.readouterr().out.splitlines() == list(table(found))

    (_, *rows) = table(found)
    for size, row in zip(found, rows, strict=True):
        score = Validation(tmp_path / "images", 2, 2).score(Distiller(size.result.network, None, Plain()))["val_psnr_y"]
        assert size.val_psnr_y == pytest.approx(score, abs=1e-4)
        params = f"{parameter_count(size.result.network) / 1e3:.1f}"
        assert row.split() == [size.name, size.student, params, "K", "4", f"{score:.2f}"]


def test_without_hr_the_table_has_the_likeness_to_the_teacher(tmp_path: Path) -> None:
    recipe = tiny.data(of_sizes(tmp_path), lr_only=True, train=(tmp_path / "lr",), lr=(), val=tmp_path / "lr")
    found = distill_sizes(dataclasses.replace(recipe, init="scratch", target="auto", method=Logits(pixel_weight=0)))
    logged = [read_log(tmp_path / "out" / name)[-1]["val_psnr_y_to_teacher"] for name in FOLDERS]
    header, *rows = table(found)
    assert header.split("  ")[-1] == "to teacher"
    assert "PSNR-Y" not in header
    assert [row.split()[-1] for row in rows] == [f"{score:.2f}" for score in logged]
    first, second = found
    (header, *rows) = table([dataclasses.replace(first, val_psnr_y=30.0), second])
    assert header.split()[-3:] == ["PSNR-Y", "to", "teacher"]
    assert [len(row.split()) for row in rows] == [7, 6]
    (header, *_) = table([dataclasses.replace(size, val_psnr_y_to_teacher=None) for size in found])
    assert header.split() == ["size", "student", "params", "steps"]


def test_one_run_cannot_train_several(tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match=r"^students is set, .*: call hkdsr.distill_sizes or leave students out"):
        distill(of_sizes(tmp_path))
    with pytest.raises(HkdsrError, match=r"^students is empty: name at least one size"):
        distill_sizes(dataclasses.replace(of_sizes(tmp_path), students=()))
