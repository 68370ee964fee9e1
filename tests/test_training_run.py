"""``train`` and ``distill`` from the recipe to the files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image

from hkdsr.data import rgb
from hkdsr.errors import HkdsrError
from hkdsr.files import claimed
from hkdsr.methods import HKDSR, Logits, Method, Plain
from hkdsr.nets.files.load import digest, load
from hkdsr.scoring.inference import super_resolve
from hkdsr.settings.recipe import DistillRecipe, ExitSettings, TrainRecipe
from hkdsr.settings.resume import settings_by_kind
from hkdsr.training.log import read_log
from hkdsr.training.run import distill, train


def without_teacher(recipe: DistillRecipe) -> TrainRecipe:
    return TrainRecipe(recipe.scale, recipe.student, out=recipe.out, data=recipe.data, training=recipe.training)


METHODS: list[Method] = [
    Plain(),
    Plain(exit_weight=0.1),
    Logits(),
    HKDSR(),
    HKDSR(kd_on_intermediate=False),
    HKDSR(fsm_levels=(1, 1, 2), acf_split="joint", acf_pool="global", teacher_blend=0.0),
]


@pytest.mark.parametrize("method", METHODS, ids=[f"{index}-{type(m).__name__}" for index, m in enumerate(METHODS)])
def test_the_written_student_is_the_returned_one(method: Method, tmp_path: Path) -> None:
    result = distill(tiny.recipe(tmp_path, method))
    assert result.weights == tmp_path / "out" / "student.safetensors"
    assert result.steps == 12
    assert result.seconds > 0
    found = load(result.weights)
    assert (found.family, found.settings) == ("compact", {"scale": 2, "features": 4, "convs": 4})
    assert digest(found.state_dict()) == digest(result.network.state_dict())
    assert not result.network.training
    lr = rgb(tmp_path / "images" / "01.png")
    written, returned = super_resolve(found, lr).astype(int), super_resolve(result.network, lr).astype(int)
    assert written.shape == (112, 132, 3)
    # One writes its weights in another memory layout, which may round differently.
    assert abs(written - returned).max() <= 1
    average = {name.removeprefix("student."): v for name, v in tiny.state(tmp_path / "out")["average"].items()}
    assert all(torch.equal(average[name], value) for name, value in found.state_dict().items())


def test_many_initial_weights_left_in_the_average_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    distill(tiny.recipe(tmp_path, Plain(), steps=2, ema=0.9))
    sentence = "After 2 steps the averaged weights still hold 81 % of the initial ones. Lower training.ema (0.9) for so"
    assert [text.startswith(sentence) for text in caplog.messages].count(True) == 1
    caplog.clear()
    distill(dataclasses.replace(tiny.recipe(tmp_path, Plain(), steps=2, ema=0.3), out=tmp_path / "other"))
    assert not any("averaged weights" in text for text in caplog.messages)


def test_a_folder_is_used_by_one_process_at_a_time(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    with claimed(recipe.out), pytest.raises(HkdsrError, match=r"another process trains in .*: wait until"):
        distill(recipe)
    assert [path.name for path in recipe.out.iterdir()] == [".lock"]
    assert distill(recipe).steps == 12


def test_a_resumed_run_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tiny.recipe(tmp_path)
    distill(recipe)
    distill(recipe)
    assert f"continuing at step 12 in {recipe.out}" in caplog.messages


def test_a_file_that_is_not_a_log(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    recipe.out.mkdir()
    (recipe.out / "log.jsonl").write_text("my notes\n")
    with pytest.raises(HkdsrError, match=r"log.jsonl is damaged or not a log of a training: move it away"):
        distill(recipe)


def test_a_student_gets_better(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=80, lr=2e-3, batch=8, validate_every=20)
    recipe = dataclasses.replace(recipe, teacher="compact_x2", student="compact:features=16,convs=2")
    distill(tiny.data(recipe, val=tmp_path / "images"))
    scores = [line["val_psnr_y"] for line in read_log(recipe.out) if "val_psnr_y" in line]
    assert len(scores) == 4
    assert scores[-1] > scores[0] + 1


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_training_without_a_teacher(scale: int, tmp_path: Path) -> None:
    recipe = dataclasses.replace(without_teacher(tiny.recipe(tmp_path)), scale=scale)
    result = train(recipe)
    assert load(result.weights).scale == scale
    assert tiny.metadata(result.weights).keys() == {"family", "settings", "recipe", "data_sha256", "step", "seconds"}
    terms = [line["losses"] for line in read_log(recipe.out)]
    assert len(terms) == 12
    assert all(term.keys() == {"pixel"} for term in terms)


def test_plain_distillation_is_training_without_a_teacher(tmp_path: Path) -> None:
    """The baseline of every comparison gets the same start, the same crops and the same steps."""
    recipe = tiny.recipe(tmp_path, Plain())
    one = distill(recipe).network
    other = train(dataclasses.replace(without_teacher(recipe), out=tmp_path / "other")).network
    assert digest(one.state_dict()) == digest(other.state_dict())


def test_every_method_starts_from_the_same_student(tmp_path: Path) -> None:
    starts = []
    for index, method in enumerate((Plain(), Logits(), HKDSR())):
        recipe = dataclasses.replace(tiny.recipe(tmp_path, method, steps=1, lr=0.0), out=tmp_path / str(index))
        starts.append(digest(distill(recipe).network.state_dict()))
    assert len(set(starts)) == 1


def test_metadata_of_the_weights(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(sim_w=0.3))
    facts = tiny.metadata(distill(recipe).weights)
    assert facts["family"] == "compact"
    assert facts["step"] == "12"
    assert facts["teacher"] == str(tmp_path / "teacher.safetensors")
    assert facts["teacher_sha256"] == digest(load(recipe.teacher).state_dict())
    (store,) = (tmp_path / "cache").glob("images-*")
    assert store.name == f"images-{facts['data_sha256'][:20]}"
    settings = json.loads(facts["recipe"])
    assert settings == settings_by_kind(recipe, "same", "content")
    assert settings["method.name"] == '"hkdsr"'
    assert settings["method.sim_w"] == "0.3"


def test_the_metadata_name_the_teacher_as_given_even_if_stage_1_trains_it(tmp_path: Path) -> None:
    recipe = tiny.exits(tiny.recipe(tmp_path, HKDSR()), kind="teacher_tail", stage1_trainable="all", stage1_steps=3)
    tiny.teacher(tmp_path / "teacher.safetensors", "compact:features=4,convs=6")
    given = digest(load(recipe.teacher).state_dict())
    result = distill(recipe)
    assert tiny.metadata(result.weights)["teacher_sha256"] == given
    assert digest(load(recipe.teacher).state_dict()) == given
    assert distill(recipe).steps == 12


def test_the_best_student_is_kept_beside_the_last(tmp_path: Path) -> None:
    tiny.photographs(tmp_path / "val", count=3)
    recipe = tiny.recipe(tmp_path, Plain(), steps=8, lr=0.05, ema=0.0, validate_every=2, log_every=4)
    recipe = tiny.data(recipe, val=tmp_path / "val", val_images=2)
    result = distill(recipe)
    lines = read_log(recipe.out)
    assert [line["step"] for line in lines if "val_psnr_y" in line] == [2, 4, 6, 8]
    scores = {line["step"]: line["val_psnr_y"] for line in lines if "val_psnr_y" in line}
    best = max(scores, key=lambda step: scores[step])
    facts = tiny.metadata(recipe.out / "best.safetensors")
    assert (facts["step"], float(facts["val_psnr_y"])) == (str(best), scores[best])
    assert tiny.state(recipe.out)["best"] == scores[best]
    same = digest(load(recipe.out / "best.safetensors").state_dict()) == digest(result.network.state_dict())
    assert same == (best == 8)


def test_validation_is_the_published_protocol_on_the_first_images(tmp_path: Path) -> None:
    from hkdsr.data import imresize
    from hkdsr.scoring.metrics import psnr_y

    tiny.photographs(tmp_path / "val", count=3, height=57, width=65)
    recipe = tiny.data(tiny.recipe(tmp_path, Plain(), steps=2), val=tmp_path / "val", val_images=2)
    network = load(distill(recipe).weights)
    expected = []
    for name in ("00.png", "01.png"):
        hr = rgb(tmp_path / "val" / name)[:56, :64]
        expected.append(psnr_y(super_resolve(network, imresize(hr, 0.5)), hr, 2))
    (line,) = (line for line in read_log(recipe.out) if "val_psnr_y" in line)
    assert line["val_psnr_y"] == pytest.approx(sum(expected) / 2, abs=2e-3)


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR())
    first = distill(recipe)
    log = (recipe.out / "log.jsonl").read_bytes()
    written = (recipe.out / "last.pt").stat().st_mtime_ns
    again = distill(recipe, tiny.KilledAt(first.steps))
    assert (recipe.out / "last.pt").stat().st_mtime_ns == written
    assert (again.steps, again.seconds) == (first.steps, first.seconds)
    assert digest(again.network.state_dict()) == digest(first.network.state_dict())
    assert (recipe.out / "log.jsonl").read_bytes() == log


def test_a_student_may_start_from_a_checkpoint(tmp_path: Path) -> None:
    start = tiny.teacher(tmp_path / "start.safetensors", tiny.STUDENT)
    recipe = dataclasses.replace(tiny.recipe(tmp_path, Logits(), steps=1, lr=0.0), student=str(start))
    assert digest(distill(recipe).network.state_dict()) == digest(load(start).state_dict())


def test_the_threads_asked_for_are_used_from_the_beginning(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        with pytest.raises(HkdsrError, match="no folder"):
            distill(tiny.data(tiny.recipe(tmp_path, HKDSR(), threads=before + 2), train=(tmp_path / "absent",)))
        assert torch.get_num_threads() == before + 2
    finally:
        torch.set_num_threads(before)


def test_images_smaller_than_the_patch_are_left_out(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR())
    Image.new("RGB", (9, 14)).save(tmp_path / "images" / "small.png")
    assert distill(recipe).steps == 12


@pytest.mark.parametrize("kind", ["separate", "shared", "teacher_tail"])
def test_every_kind_of_exit_trains_a_student(kind: Any, tmp_path: Path) -> None:
    tiny.photographs(tmp_path / "images")
    tiny.teacher(tmp_path / "teacher.safetensors", "compact:features=4,convs=6")
    recipe = dataclasses.replace(
        tiny.recipe(tmp_path, HKDSR()), exits=ExitSettings(kind=kind, stage1_steps=2, allow_weak=True)
    )
    result = distill(recipe)
    assert load(result.weights).settings == {"scale": 2, "features": 4, "convs": 4}
    names = tiny.state(recipe.out)["model"]
    assert any(name.startswith("exits.") for name in names) == (kind == "separate")
