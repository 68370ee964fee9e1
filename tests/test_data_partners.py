"""The folders that people have: LR files are used where there are some, and what was used is said with its numbers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hostile import Ended, command, images, photo, refusal, refused
from PIL import Image

from hkdsr.data import imresize, rgb
from hkdsr.data.sources import find_pairs
from hkdsr.data.store import build_store

# HR folder, LR folder, name of LR for the HR image 1.png; at scale 2
SHAPES = {
    "plain": ("HR", "LR", "1.png"),
    "plain with the scale in its names": ("HR", "LR", "1x2.png"),
    "lower case": ("hr", "lr", "1.png"),
    "BasicSR": ("GT", "LQ", "1.png"),
    "BasicSR by scale": ("GT", "LQ/X2", "1.png"),
    "BasicSR bicubic": ("GTmod12", "LRbicx2", "1.png"),
    "unknown": ("HR", "LR_unknown/X2", "1x2.png"),
    "DIV2K bicubic": ("DIV2K_train_HR", "DIV2K_train_LR_bicubic/X2", "1x2.png"),
    "DIV2K unknown": ("DIV2K_train_HR", "DIV2K_train_LR_unknown/X2", "1x2.png"),
    "DIV2K as its archives unpack": (
        "DIV2K_train_HR",
        "DIV2K_train_LR_bicubic_X2/DIV2K_train_LR_bicubic/X2",
        "1x2.png",
    ),
    "DIV2K mild": ("DIV2K_train_HR", "DIV2K_train_LR_mild", "1x2m.png"),
}


def lr_of(hr: np.ndarray) -> np.ndarray:
    """LR that can be told from what is made of HR: a little darker."""
    return (imresize(hr, 0.5) * 0.9).astype(np.uint8)


def paired(root: Path, shape: str) -> tuple[Path, Path]:
    """A data set of one pair in this shape: its two files."""
    hr_folder, lr_folder, lr_name = SHAPES[shape]
    hr = images(root / hr_folder, "1.png") / "1.png"
    (root / lr_folder).mkdir(parents=True)
    Image.fromarray(lr_of(rgb(hr))).save(root / lr_folder / lr_name)
    return hr, root / lr_folder / lr_name


def trained(root: Path, train: Path, *more: str | Path) -> Ended:
    """One training step on the folder ``train``."""
    settings = ("--student", "compact:features=4,convs=1", "--training.steps", "1", "--training.batch", "1")
    folders = ("--out", root / "out", "--data.cache", root / "cache", "--data.train", train, "--data.patch", "12")
    return command("train", *settings, *folders, "--training.device", "cpu", *more)


def scored(root: Path, name: str) -> Ended:
    return command("evaluate", "bicubic", "--scale", "2", "--root", root, "--sets", name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("given", ["HR", "parent"])
def test_lr_files_that_are_there_are_used(shape: str, given: str, tmp_path: Path) -> None:
    hr, lr = paired(tmp_path / "set", shape)
    (pair,) = find_pairs(hr.parent if given == "HR" else tmp_path / "set", 2)
    assert (pair.hr, pair.lr) == (hr, lr)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_score_is_of_the_lr_files_that_are_there(shape: str, tmp_path: Path) -> None:
    _, lr = paired(tmp_path / "Set9", shape)
    ended = scored(tmp_path, "Set9")
    assert ended.code == 0, ended
    assert SHAPES[shape][1] in ended.said
    Image.fromarray(np.full_like(rgb(lr), 128)).save(lr)
    assert scored(tmp_path, "Set9").said != ended.said


def test_a_score_says_that_lr_was_made(tmp_path: Path) -> None:
    images(tmp_path / "Set9", "1.png 2.png")
    ended = scored(tmp_path, "Set9")
    assert ended.code == 0
    assert "bicubic" in ended.said


def test_a_run_says_how_many_lr_files_it_found_or_made(tmp_path: Path) -> None:
    paired(tmp_path / "set", "BasicSR")
    assert "1 image, 1 LR file found" in trained(tmp_path, tmp_path / "set").said
    images(tmp_path / "plain", "a.png b.png c.png")
    assert "3 images, LR made by bicubic" in trained(tmp_path / "second", tmp_path / "plain").said


def test_a_folder_of_lr_can_be_named(tmp_path: Path) -> None:
    hr = images(tmp_path / "sharp", "1.png 2.png")
    blurred = tmp_path / "blurred"
    blurred.mkdir()
    for path in sorted(hr.iterdir()):
        Image.fromarray(lr_of(rgb(path))).save(blurred / path.name)
    ended = trained(tmp_path, hr, "--data.lr", blurred)
    assert ended.code == 0, ended
    assert "2 images, 2 LR files found" in ended.said
    (blurred / "2.png").unlink()
    assert "2.png" in refused(*_arguments(tmp_path / "b", hr), "--data.lr", blurred)


def _arguments(root: Path, train: Path) -> list[str | Path]:
    folders = ("--out", root / "out", "--data.cache", root / "cache", "--data.train", train, "--data.patch", "12")
    return ["train", "--student", "compact:features=4,convs=1", "--training.steps", "1", *folders]


def test_swapped_pairs_are_refused_by_name(tmp_path: Path) -> None:
    images(tmp_path / "set" / "HR", "1.png", 20, 24)
    images(tmp_path / "set" / "LR", "1.png", 40, 48)
    sentence = refusal(lambda: build_store(find_pairs(tmp_path / "set", 2), 2, tmp_path / "cache", progress=False))
    assert "swapped" in sentence
    ended = scored(tmp_path, "set")
    assert ended.code == 2
    assert "swapped" in ended.said


@pytest.mark.parametrize("size", [(21, 24), (20, 25), (19, 24), (20, 23)])
def test_sizes_off_by_one_are_refused_by_name(size: tuple[int, int], tmp_path: Path) -> None:
    images(tmp_path / "set" / "GT", "1.png", 40, 48)
    images(tmp_path / "set" / "LQ", "1.png", *size)
    sentence = refusal(lambda: build_store(find_pairs(tmp_path / "set", 2), 2, tmp_path / "cache", progress=False))
    assert "LQ/1.png" in sentence
    assert f"{size[1]}x{size[0]}" in sentence
    ended = scored(tmp_path, "set")
    assert ended.code == 2
    assert "LQ/1.png" in ended.said


def test_the_folder_of_selfexsr_holds_hr_and_lr_together(tmp_path: Path) -> None:
    folder = images(tmp_path / "Set5" / "image_SRF_2", "img_001_SRF_2_HR.png img_002_SRF_2_HR.png")
    for path in sorted(folder.iterdir()):
        Image.fromarray(lr_of(rgb(path))).save(folder / path.name.replace("HR", "LR"))
    images(tmp_path / "Set5" / "image_SRF_4", "img_001_SRF_4_HR.png", 32, 32)
    ended = command("evaluate", "bicubic", "--scale", "2", "--root", tmp_path, "--sets", "Set5", "--per-image")
    assert ended.code == 0, ended
    assert "img_002_SRF_2_HR" in ended.said
    assert "_LR" not in ended.said.partition("SSIM-Y")[2]
    assert "image_SRF_2" in ended.said.partition("SSIM-Y")[0], "which LR was used is said"
    pairs = find_pairs(folder, 2)
    assert [(pair.file.name, pair.lr and pair.lr.name) for pair in pairs] == [
        (f"img_00{index}_SRF_2_HR.png", f"img_00{index}_SRF_2_LR.png") for index in (1, 2)
    ]


def test_images_smaller_than_the_patch_are_counted_and_said(tmp_path: Path) -> None:
    images(tmp_path / "set", "1.png 2.png")
    images(tmp_path / "set", "3.png", 20, 20)
    said = trained(tmp_path, tmp_path / "set").said
    assert "1 of 3 images is smaller than the patch" in said


def test_a_folder_linked_into_itself_counts_each_image_once(tmp_path: Path) -> None:
    folder = images(tmp_path / "set", "1.png 2.png")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (folder / "1b.png").symlink_to(folder / "1.png")
    assert [pair.name for pair in find_pairs(folder, 2)] == ["1.png", "2.png"]


def test_folders_linked_into_each_other_count_each_image_once(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        images(tmp_path / one, f"{one}.png")
        os.symlink(tmp_path / other, tmp_path / one / "link", target_is_directory=True)
    assert sorted(pair.file.name for pair in find_pairs([tmp_path / "a", tmp_path / "b"], 2)) == ["a.png", "b.png"]


def test_lr_files_that_fit_no_hr_image_are_not_passed_over(tmp_path: Path) -> None:
    images(tmp_path / "set" / "HR", "1.png", 40, 48)
    images(tmp_path / "set" / "LR", "one.png", 20, 24)
    assert "LR" in refusal(lambda: find_pairs(tmp_path / "set", 2))


def test_two_lr_folders_are_not_chosen_between_unsaid(tmp_path: Path) -> None:
    paired(tmp_path / "set", "DIV2K bicubic")
    lr = tmp_path / "set" / "DIV2K_train_LR_unknown" / "X2"
    lr.mkdir(parents=True)
    Image.fromarray(photo(20, 24)).save(lr / "1x2.png")
    ended = trained(tmp_path, tmp_path / "set")
    assert "LR_bicubic" in ended.said
