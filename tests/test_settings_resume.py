"""Recipes as flat names and values, and those that must be the same when a run is continued."""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import tiny
import torch

from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, HKDSRPlus, Logits, Plain, compose
from hkdsr.methods.csd import CSD
from hkdsr.methods.mtkd import MTKD
from hkdsr.settings.degrade import Degrade, Round
from hkdsr.settings.recipe import Data, DistillRecipe, ExitSettings, Training, TrainRecipe
from hkdsr.settings.resume import flat_settings, lasting_settings
from hkdsr.training.run import distill


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
    nested = (Data, Training, ExitSettings, HKDSR, Degrade, Round, Round)
    fields = sum(len(dataclasses.fields(kind)) for kind in (*nested, DistillRecipe)) - len(nested)
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
    assert not [name for name in with_exits if name.startswith("degrade.")]
    assert lasting_settings(TrainRecipe(degrade=Degrade("bsrgan")))["degrade.first.jpeg"] == "null"
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


def test_a_setting_that_is_gone_counts_as_its_constant(tmp_path: Path) -> None:
    """A run of an older version with the value that is now always used is continued; with another it is not."""
    recipe = tiny.recipe(tmp_path, HKDSRPlus(exits=False, acf_share=0.0, affinity_share=0.0), steps=1)
    distill(recipe)
    state = tiny.state(recipe.out)
    for value, fits in (('"none"', True), ('"cosine"', False)):
        older = {**state["fingerprint"], "method.fsm_norm": value, "method.probability": "0.3"}
        torch.save({**state, "fingerprint": older}, recipe.out / "last.pt")
        with nullcontext() if fits else pytest.raises(HkdsrError, match=r"other settings \(method\.fsm_norm\)"):
            distill(recipe)
