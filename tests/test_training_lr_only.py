"""Training on LR images alone, whose target is the teacher's image, and on degraded images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from small import refusal

from hkdsr.data import bicubic_pair, list_images, rgb
from hkdsr.data.crops import CropSampler
from hkdsr.data.sources import find_pairs
from hkdsr.data.store import build_store
from hkdsr.methods import HKDSR, Logits, Method, Plain
from hkdsr.nets.files.load import load
from hkdsr.report.page import render
from hkdsr.report.run import VALIDATION, VALIDATION_TO_TEACHER, read_run
from hkdsr.report.run_report import run_report
from hkdsr.scoring import psnr_y
from hkdsr.scoring.inference import super_resolve
from hkdsr.settings.degrade import Degrade
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.training.images import image_store
from hkdsr.training.log import read_log
from hkdsr.training.run import distill, train
from hkdsr.training.stage1 import ExitTraining, untrained_exits
from hkdsr.training.start_crops import start_crops

REAL_ESRGAN = Degrade("real-esrgan")


def lr_only(folder: Path, method: Method | None = None, **training: object) -> DistillRecipe:
    made = tiny.data(tiny.recipe(folder, method or Logits(pixel_weight=0.0), **training), lr_only=True)
    return dataclasses.replace(made, target="auto")


def test_a_store_without_hr_has_the_images_as_lr(tmp_path: Path) -> None:
    images = tiny.photographs(tmp_path / "images", height=31, width=45)
    store = build_store(find_pairs(images, 2, lr_only=True), 2, tmp_path / "cache", workers=1)
    assert not store.has_hr
    assert store.sizes == [(62, 90)] * 3
    for index, path in enumerate(list_images(images)):
        assert np.array_equal(store.lr(index), rgb(path))
    batch = CropSampler(store, 12, 4, seed=0).batch(0)
    assert batch.optional_hr is None
    data = store.folder / "lr.u8"
    whole = data.read_bytes()
    data.write_bytes(b"\0" * 100 + whole[100:])
    build_store(find_pairs(images, 2, lr_only=True), 2, tmp_path / "cache", workers=1)
    assert data.read_bytes() == whole  # damage is mended
    assert build_store(find_pairs(images, 2), 2, tmp_path / "cache", workers=1).has_hr


@pytest.mark.parametrize("images", ["cached", "live"])
def test_the_teachers_image_takes_the_place_of_hr(images: str, tmp_path: Path) -> None:
    """The L1 to the ground truth is that to the teacher's image."""
    recipe = tiny.exits(lr_only(tmp_path, Logits(), accumulate=2, batch=4), teacher_images=images)
    distill(recipe)
    for line in read_log(recipe.out):
        assert line["losses"]["pixel"] == pytest.approx(line["losses"]["logits"])


def test_starts_are_solved_for_the_teachers_image_on_crops_as_training_has_them(tmp_path: Path) -> None:
    """A teacher that repeats every LR pixel."""
    images = tiny.photographs(tmp_path / "images", height=31, width=45)
    store = build_store(find_pairs(images, 2, lr_only=True), 2, tmp_path / "cache", workers=1)
    clean, degraded = start_crops(store, tiny.nearest(2)), start_crops(store, tiny.nearest(2), REAL_ESRGAN)
    for crops in (clean, degraded):
        assert torch.equal(crops.hr, crops.lr.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert not torch.equal(clean.lr, degraded.lr)


def test_exits_learn_from_the_teachers_image_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = lr_only(tmp_path, HKDSR(fsm_samples=20, fsm_crop=16), steps=2)
    distill(recipe)
    assert not [message for message in caplog.messages if "PSNR-Y on training images" in message]  # there is no HR
    teacher = load(recipe.teacher)
    lr, exits = torch.rand(2, 3, 12, 12), untrained_exits(teacher, recipe.exits)
    module = ExitTraining(exits, train_all=False, include_final=False, is_target=True)
    wanted = exits(lr)
    for index, image in enumerate(wanted.exits):
        expected = (image - wanted.final.clamp(0, 1)).abs().mean()
        assert module(lr, None, None)[f"exit{index + 1}"] == pytest.approx(expected)


def test_validation_is_against_the_teachers_image_and_says_so(tmp_path: Path) -> None:
    tiny.photographs(tmp_path / "val", count=2)
    recipe = tiny.data(lr_only(tmp_path, steps=4, validate_every=4), val=tmp_path / "val")
    student = distill(recipe).network
    (line,) = (line for line in read_log(recipe.out) if "val_psnr_y_to_teacher" in line)
    teacher = load(recipe.teacher)
    images = [rgb(path) for path in list_images(tmp_path / "val")]
    expected = [psnr_y(super_resolve(student, lr), super_resolve(teacher, lr), 2) for lr in images]
    assert line["val_psnr_y_to_teacher"] == pytest.approx(np.mean(expected), abs=2e-3)
    assert not any("val_psnr_y" in line for line in read_log(recipe.out))
    assert "val_psnr_y_to_teacher" in tiny.metadata(recipe.out / "best.safetensors")


def test_with_hr_both_scores_are_logged_and_that_to_the_teacher_counts(tmp_path: Path) -> None:
    """Where the teacher's image is the target in place of HR."""
    tiny.photographs(tmp_path / "val", count=2)
    made = tiny.recipe(tmp_path, Logits(), steps=8, validate_every=4)
    recipe = tiny.replaced(tiny.data(made, val=tmp_path / "val"), target="teacher")
    student = distill(recipe).network
    lines = [line for line in read_log(recipe.out) if "val_psnr_y" in line]
    assert [line["step"] for line in lines] == [4, 8]
    teacher = load(recipe.teacher)
    pairs = [bicubic_pair(rgb(path), 2) for path in list_images(tmp_path / "val")]
    images = [(super_resolve(student, lr), super_resolve(teacher, lr), hr) for lr, hr in pairs]
    to_teacher = np.mean([psnr_y(own, by_teacher, 2) for own, by_teacher, _ in images])
    assert lines[-1]["val_psnr_y_to_teacher"] == pytest.approx(to_teacher, abs=2e-3)
    assert lines[-1]["val_psnr_y"] == pytest.approx(np.mean([psnr_y(own, hr, 2) for own, _, hr in images]), abs=2e-3)
    best = tiny.metadata(recipe.out / "best.safetensors")
    assert float(best["val_psnr_y_to_teacher"]) == max(line["val_psnr_y_to_teacher"] for line in lines)
    assert "val_psnr_y" not in best
    assert [curve.quantity for curve in read_run(recipe.out).curves][:2] == [VALIDATION, VALIDATION_TO_TEACHER]


def test_the_report_shows_input_student_and_teacher(tmp_path: Path) -> None:
    tiny.photographs(tmp_path / "val", count=2)
    recipe = tiny.data(lr_only(tmp_path, steps=4), val=tmp_path / "val")
    distill(recipe)
    run = read_run(recipe.out)
    report = run_report(run)
    first, paths = report.comparisons[0], list_images(tmp_path / "val")
    lr, teacher = rgb(paths[0]), load(recipe.teacher)
    assert list(first.images) == ["input", "bicubic", "out"]
    assert first.reference == "teacher"
    assert np.array_equal(first.images["input"][::2, ::2], lr)
    assert np.array_equal(first.hr, super_resolve(teacher, lr))
    assert report.compared == ("input", "out")
    rows = {row.name: row for row in report.rows}
    likeness = [psnr_y(super_resolve(run.network, rgb(p)), super_resolve(teacher, rgb(p)), 2) for p in paths]
    assert rows["out"].psnr == pytest.approx(np.mean(likeness))
    assert (rows["teacher"].psnr, rows["teacher"].ssim) == (None, None)
    assert "and not to HR: fidelity, not quality" in report.protocol
    page = render(report)
    assert all(f'data-label="{label}"' in page for label in ("input", "out", "teacher"))
    assert 'data-label="HR"' not in page

    assert refusal(lambda: run_report(dataclasses.replace(run, val=""))).endswith("has no data.val: give LR images")
    gone = dataclasses.replace(run, teacher=str(tmp_path / "gone.pth"))
    assert refusal(lambda: run_report(gone)).endswith("its teacher " + gone.teacher + " is gone: put it back")


@pytest.mark.parametrize(
    ("what", "change", "sentence"),
    [
        ("target", lambda r: tiny.replaced(r, target="hr"), "there is no HR: set it to 'auto' or 'teacher'"),
        ("method", lambda r: tiny.replaced(r, method=Plain()), "'none' learns from HR alone: choose a method"),
        ("lr", lambda r: tiny.data(r, lr=r.data.train), "data.train has the LR images: leave out data.lr"),
        (
            "whole teacher",
            lambda r: tiny.exits(tiny.replaced(r, method=HKDSR()), stage1_trainable="all"),
            "set it to 'heads'",
        ),
    ],
)
def test_what_needs_hr_is_refused(
    what: str, change: Callable[[DistillRecipe], DistillRecipe], sentence: str, tmp_path: Path
) -> None:
    recipe = lr_only(tmp_path)
    assert sentence in refusal(lambda: distill(change(recipe)))


def test_training_without_a_teacher_is_refused(tmp_path: Path) -> None:
    recipe = lr_only(tmp_path)
    alone = TrainRecipe(out=recipe.out, data=recipe.data, training=recipe.training)
    assert "use hkdsr distill with a teacher" in refusal(lambda: train(alone))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("method", [Logits(), HKDSR(fsm_samples=20, fsm_crop=16)], ids=["logits", "hkdsr"])
def test_a_killed_run_on_degraded_images_ends_as_an_uninterrupted_one(
    method: Method, alone: bool, tmp_path: Path
) -> None:
    recipe = tiny.replaced(lr_only(tmp_path, method) if alone else tiny.recipe(tmp_path, method), degrade=REAL_ESRGAN)
    whole = tiny.replaced(recipe, out=tmp_path / "whole")
    distill(whole)
    with pytest.raises(tiny.Killed):
        distill(recipe, tiny.KilledAt(8))
    assert tiny.state(recipe.out)["step"] == 5
    distill(recipe)
    state, state_cut = tiny.state(whole.out), tiny.state(recipe.out)
    assert all(tiny.equal(state[part], state_cut[part]) for part in ("model", "average", "optimiser"))
    assert tiny.losses(whole.out) == tiny.losses(recipe.out)
    assert "other settings (degrade.preset)" in refusal(
        lambda: distill(tiny.replaced(recipe, degrade=Degrade("bsrgan")))
    )


def test_the_teachers_images_of_variants_are_cached_and_those_of_new_crops_are_not(tmp_path: Path) -> None:
    recipe = tiny.exits(tiny.recipe(tmp_path, Logits(), steps=2), teacher_images="cached")
    live = tiny.replaced(recipe, degrade=REAL_ESRGAN)
    assert "set it to 'live', or set degrade.variants" in refusal(lambda: distill(live))
    kept = tiny.replaced(recipe, degrade=Degrade("real-esrgan", variants=2), out=tmp_path / "kept")
    distill(kept)
    store, teacher = image_store(kept), load(recipe.teacher)
    assert len(store) == 6
    sizes = {file.stat().st_size for file in (tmp_path / "cache").glob("derived-*/images.u8")}
    assert sizes == {2 * 3 * 3 * 28 * 33, store.offsets[-1]}
    batch = CropSampler(store, 28, 1, 0).batch(0)
    assert super_resolve(teacher, store.lr(0)).shape == store.hr(0).shape
    assert torch.equal(CropSampler(store, 28, 1, 0, degrade=kept.degrade).batch(0).lr, batch.lr)


def test_validation_on_degraded_images_is_always_on_the_same(tmp_path: Path) -> None:
    tiny.photographs(tmp_path / "val", count=2)
    recipe = tiny.data(tiny.recipe(tmp_path, Logits(), steps=2, validate_every=1), val=tmp_path / "val")
    recipe = tiny.replaced(recipe, degrade=REAL_ESRGAN)
    still = tiny.replaced(recipe, out=tmp_path / "still", training=tiny.settings(steps=2, lr=0.0, validate_every=1))
    distill(still)
    first, second = (line["val_psnr_y"] for line in read_log(still.out) if "val_psnr_y" in line)
    assert first == second
    clean = tiny.replaced(still, out=tmp_path / "clean", degrade=Degrade())
    distill(clean)
    assert first < next(line["val_psnr_y"] for line in read_log(clean.out) if "val_psnr_y" in line)
