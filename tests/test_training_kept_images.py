"""The images of the last validations that a training keeps to look at."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image
from tiny_study import study

from hkdsr.data import imresize, list_images, rgb
from hkdsr.methods import Plain
from hkdsr.nets.files.load import load
from hkdsr.scoring.inference import super_resolve
from hkdsr.settings.recipe import Data, DistillRecipe
from hkdsr.studies.study import training
from hkdsr.training.kept_files import kept
from hkdsr.training.kept_images import LAST, MARGIN, KeptImages, Validated, middle
from hkdsr.training.run import distill


def recipe(folder: Path, out: str = "out", steps: int = 4, **data: object) -> DistillRecipe:
    """Validates every second step, on one image of the training."""
    made = tiny.recipe(folder, Plain(), steps=steps, validate_every=2, save_every=3)
    return tiny.data(dataclasses.replace(made, out=folder / out), val=folder / "images", val_images=1, **data)


def test_a_distillation_keeps_the_student_beside_the_teacher(tmp_path: Path) -> None:
    result = distill(recipe(tmp_path))
    files = kept(tmp_path / "out" / "validation")
    assert set(files) == {(0, "hr"), (0, "teacher"), (0, "2"), (0, "4")}
    hr = rgb(tmp_path / "images" / "00.png")
    assert np.array_equal(rgb(files[0, "hr"]), hr)
    lr = imresize(hr, 0.5)
    # The teacher is small: its margin of the image is enough.
    assert np.array_equal(rgb(files[0, "teacher"]), super_resolve(load(tmp_path / "teacher.safetensors"), lr))
    assert np.array_equal(rgb(files[0, "4"]), super_resolve(result.network, lr))
    assert not np.array_equal(rgb(files[0, "2"]), rgb(files[0, "4"]))


def test_what_is_kept_does_not_change_the_training_and_survives_a_kill(tmp_path: Path) -> None:
    distill(recipe(tmp_path, "without", val_kept=0))
    with pytest.raises(tiny.Killed):
        distill(recipe(tmp_path), tiny.KilledAt(2))
    teacher = tmp_path / "out" / "validation" / "0_teacher.png"
    written = teacher.stat().st_mtime_ns
    distill(recipe(tmp_path))
    assert teacher.stat().st_mtime_ns == written  # the teacher ran once
    assert not (tmp_path / "without" / "validation").exists()
    for part in ("model", "average", "optimiser"):
        assert tiny.equal(tiny.state(tmp_path / "without")[part], tiny.state(tmp_path / "out")[part]), part


def validated(grey: int, height: int = 40, width: int = 60) -> Validated:
    lr = np.full((height // 2, width // 2, 3), grey, np.uint8)
    return Validated("a.png", lr, np.full((height, width, 3), grey, np.uint8), None)


def test_older_later_and_other_images_go(tmp_path: Path) -> None:
    images = KeptImages(tmp_path, 1)
    for step in range(1, LAST + 4):
        images.keep(step, "key", [validated(step)])
    folder = tmp_path / "validation"
    assert sorted(int(kind) for _, kind in kept(folder)) == list(range(4, LAST + 4))
    images.keep(6, "key", [validated(99)])
    assert sorted(int(kind) for _, kind in kept(folder)) == [4, 5, 6]
    assert rgb(folder / "0_6.png")[0, 0, 0] == 99
    (folder / "mine.png").write_bytes(b"")
    images.keep(7, "other images", [validated(7)])
    assert set(kept(folder)) == {(0, "7")}
    assert (folder / "mine.png").exists()
    (folder / "images.json").write_text("{")
    images.keep(8, "other images", [validated(8)])
    assert set(kept(folder)) == {(0, "8")}
    assert json.loads((folder / "images.json").read_text())["names"] == ["a.png"]


def test_the_teacher_sees_the_middle_of_a_large_image_with_a_margin(tmp_path: Path, shared: Path) -> None:
    hr = rgb(list_images(shared / "benchmarks" / "B100" / "HR")[0])[:501, :703]
    hr = hr[: hr.shape[0] // 2 * 2, : hr.shape[1] // 2 * 2]
    lr = imresize(hr, 0.5)
    teacher = load(tiny.teacher(tmp_path / "teacher.safetensors")).requires_grad_(False)
    KeptImages(tmp_path, 1, teacher).keep(5, "key", [Validated("a.png", lr, hr, hr)])
    files = kept(tmp_path / "validation")
    cut = middle(hr.shape)
    assert rgb(files[0, "teacher"]).shape == (320, 320, 3)
    assert np.array_equal(rgb(files[0, "hr"]), hr[cut])
    assert np.array_equal(rgb(files[0, "teacher"]), super_resolve(teacher, lr)[cut])
    assert MARGIN < 90  # the middle with its margin is not the whole image here


def test_a_teacher_that_fails_costs_its_image_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    teacher = load(tiny.teacher(tmp_path / "teacher.safetensors")).requires_grad_(False)
    grey = Validated("a.png", np.zeros((8, 8, 3), np.uint8), np.zeros((16, 16, 3), np.uint8), None)

    def fails(*inputs: object) -> None:
        raise MemoryError

    teacher.forward = fails  # pyright: ignore[reportAttributeAccessIssue]
    KeptImages(tmp_path, 1, teacher).keep(5, "key", [grey])
    assert set(kept(tmp_path / "validation")) == {(0, "5")}
    assert any("the teacher's image of a.png is not kept" in text for text in caplog.messages)


def test_a_study_keeps_none_unless_it_says_so(tmp_path: Path) -> None:
    for given, expected in ((None, 0), (3, 3)):
        of = study(tmp_path, data=Data(train=(Path("images"),), val_kept=given))
        task = training(of, of.rows[0], 1, 100)
        assert task.recipe is not None
        assert task.recipe.data.val_kept == expected


def test_the_files_are_small(tmp_path: Path, shared: Path) -> None:
    hr = rgb(list_images(shared / "benchmarks" / "B100" / "HR")[0])
    KeptImages(tmp_path, 1).keep(5, "key", [Validated("a.png", hr[:2, :2], hr, hr)])
    for path in kept(tmp_path / "validation").values():
        assert path.stat().st_size < 350_000
        with Image.open(path) as image:
            assert max(image.size) <= 320
