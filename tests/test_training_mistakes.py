"""Mistakes that are found before time is spent on them, and runs that must not be continued."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

import pytest
import tiny
import torch

from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.run import distill


def refused(recipe: DistillRecipe, naming: str) -> None:
    """The mistake is reported in one sentence, before stage 1 or anything else is computed."""
    with pytest.raises(HkdsrError, match=naming) as caught:
        distill(recipe)
    assert "\n" not in str(caught.value)
    assert not recipe.out.exists()
    assert recipe.data.cache is not None
    assert not list(recipe.data.cache.glob("exits-*"))
    assert not list(recipe.data.cache.glob("derived-*"))


def test_mistakes_are_found_before_any_time_is_spent(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR())
    x3 = tiny.teacher(tmp_path / "x3.safetensors", scale=3)
    logits = dataclasses.replace(recipe, method=Logits())
    for wrong, naming in (
        (dataclasses.replace(recipe, teacher=""), "^no teacher is given: set teacher to"),
        (dataclasses.replace(recipe, teacher="absent.pth"), r"^there is no checkpoint absent\.pth"),
        (dataclasses.replace(recipe, teacher=str(x3)), r"x3\.safetensors is a x3 network: set scale to 3$"),
        (dataclasses.replace(recipe, scale=3), r"teacher\.safetensors is a x2 network: set scale to 2$"),
        (dataclasses.replace(recipe, student="copmact:convs=3"), "^network family 'copmact' is unknown"),
        (dataclasses.replace(recipe, student=str(x3)), "is a x3 network: set scale to 3$"),
        (
            tiny.exits(recipe, student=(0.5,)),
            r"exits\.student has 1 depths and exits\.teacher 2: .* give as many of each$",
        ),
        (tiny.exits(recipe, teacher=(0.3, 1.0)), "at the last of 4 blocks of edsr"),
        (tiny.exits(recipe, student=(0.7, 0.75)), "fall on the same block of compact, which has 4"),
        (tiny.exits(recipe, kind="teacher_tail"), "teacher has 6 channels and the student 4"),
        (dataclasses.replace(recipe, method=HKDSR(fsm_levels=(1, 2))), r"fsm_levels has 2 entries for 3 outputs"),
        (tiny.data(recipe, train=()), r"^no folder of training images is given: set data\.train"),
        (tiny.data(recipe, train=(tmp_path / "none",)), r"^there is no folder .*none"),
        (tiny.data(recipe, patch=48), r"^data\.patch is 48 LR pixels.*at most 28$"),
        (tiny.data(logits, patch=48), r"^data\.patch is 48 LR pixels.*at most 28$"),
        (tiny.data(recipe, val=tmp_path / "val"), r"there is no folder .*val"),
        (tiny.data(logits, val=tmp_path / "val"), r"there is no folder .*val"),
    ):
        refused(wrong, naming)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR())
    (tmp_path / "images" / "torn.png").write_bytes((tmp_path / "images" / "00.png").read_bytes()[:900])
    refused(recipe, r"torn\.png")


def test_a_student_that_cannot_be_trained(tmp_path: Path) -> None:
    pytest.importorskip("spandrel")
    from spandrel.architectures.PLKSR import RealPLKSR

    torch.save(RealPLKSR(dim=16, n_blocks=2, upscaling_factor=2).state_dict(), tmp_path / "net.pth")
    refused(
        dataclasses.replace(tiny.recipe(tmp_path, HKDSR()), student=str(tmp_path / "net.pth")),
        r"net\.pth belongs to no family of this package",
    )


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    refused(tiny.recipe(tmp_path, HKDSR(), device="cuda:77"), r"training\.device is 'cuda:77', which this machine does")


def test_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR())
    file = tmp_path / "images" / "00.png"
    refused(
        dataclasses.replace(recipe, out=file / "out"),
        r"^cannot write \S*00\.png/out, as \S*00\.png is not a folder: name",
    )
    with pytest.raises(HkdsrError, match=r"00\.png is not a folder: name another target$"):
        distill(dataclasses.replace(recipe, out=file))


def test_tensorboard_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    refused(tiny.recipe(tmp_path, HKDSR(), tensorboard=True), r"^training\.tensorboard is set but tensorboard is miss")


def test_a_share_of_the_images_is_another_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tiny.recipe(tmp_path)
    distill(tiny.data(recipe, share=0.7))
    assert caplog.messages[0].startswith("training on 2 images, ")
    with pytest.raises(HkdsrError, match=r"begun with other settings \(images of data\.train\)"):
        distill(recipe)
    with pytest.raises(HkdsrError, match=r"data\.share is 0\.2, which leaves none of 3 images: raise it"):
        distill(tiny.data(recipe, share=0.2))


@dataclasses.dataclass(frozen=True)
class WithFile(Logits):
    """A method with a file that no setting names."""

    folder: str = ""

    @property
    def more_files(self) -> tuple[str, ...]:
        return (f"{self.folder}/features.pth",)


def test_another_file_of_the_methods_is_another_training(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, WithFile(folder=str(tmp_path)))
    with pytest.raises(HkdsrError, match=r"cannot read .*features\.pth \(No such file or directory\): check"):
        distill(recipe)
    file = tmp_path / "features.pth"
    file.write_bytes(b"one")
    weights = distill(recipe).weights
    assert tiny.metadata(weights)["files_sha256"] == hashlib.sha256(b"one").hexdigest()
    distill(recipe)
    file.write_bytes(b"two")
    with pytest.raises(HkdsrError, match=r"begun with other settings \(content of files\)"):
        distill(recipe)
