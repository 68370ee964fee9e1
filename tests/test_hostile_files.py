"""Folders that may not be read, names of every length, leftovers of killed processes, and caches that have changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
from hostile import closed, command, heard, images, photo, refusal, refused, unprivileged

import hkdsr
from hkdsr.data import ImageData, list_images, read_image, write_image
from hkdsr.data.derived import DerivedStore
from hkdsr.data.sources import find_pairs
from hkdsr.data.store import ImageStore, build_store, default_cache
from hkdsr.deploy.upscale_files import upscale_file
from hkdsr.nets.files.load import build
from hkdsr.settings.recipe import TrainRecipe
from hkdsr.settings.toml import read_recipe

TOO_LONG = "x" * 300


def test_a_folder_that_may_not_be_read_is_left_out_and_that_is_said() -> None:
    with unprivileged() as folder:
        images(folder / "set", "1.png 2.png")
        images(folder / "set" / "lost+found", "3.png")
        with closed(folder / "set" / "lost+found"), heard() as notes:
            assert [pair.name for pair in find_pairs(folder / "set", 2)] == ["1.png", "2.png"]
        assert any("lost+found" in note for note in notes)


LOOKS: dict[str, Callable[[Path], object]] = {
    "image": lambda path: read_image(path / "a.png"),
    "images": lambda path: list_images(path / "in"),
    "pairs": lambda path: find_pairs(path / "in", 2),
    "network": lambda path: hkdsr.load(path / "net.safetensors"),
    "pickled network": lambda path: hkdsr.load(path / "net.pth"),
    "onnx": lambda path: hkdsr.load(path / "net.onnx"),
    "student": lambda path: build(str(path / "net.safetensors"), 2),
    "recipe": lambda path: read_recipe(path / "recipe.toml", TrainRecipe),
    "set": lambda path: hkdsr.evaluate(tiny.nearest(2), "Set5", path),
    "store": lambda path: ImageStore(path / "images-1"),
    "target": lambda path: write_image(path / "a.png", ImageData(photo())),
    "upscaled": lambda path: upscale_file(tiny.nearest(2), path / "a.png", handling=tiny.QUIET),
    "saved": lambda path: hkdsr.save(tiny.nearest(2), path / "net.safetensors"),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_closed_parent_folder(name: str) -> None:
    with unprivileged() as folder:
        (folder / "closed").mkdir()
        with closed(folder / "closed"):
            sentence = refusal(lambda: LOOKS[name](folder / "closed"))
        assert "closed" in sentence
        assert "ermission" in sentence


@pytest.mark.parametrize("name", LOOKS)
def test_names_that_are_too_long(name: str, tmp_path: Path) -> None:
    refusal(lambda: LOOKS[name](tmp_path / TOO_LONG))


def test_the_same_for_commands() -> None:
    with unprivileged() as folder:
        (folder / "closed").mkdir()
        images(folder / "in", "1.png")
        with closed(folder / "closed"):
            for path in (folder / "closed" / "a.png", folder / f"{TOO_LONG}.png"):
                refused("upscale", path)
                refused("upscale", folder / "in" / "1.png", "-o", path)
                refused("upscale", folder / "in" / "1.png", "-o", folder / "b.png", "-m", path)
                refused("strip", path, "small_x2")
                refused("info", path)
                refused("export", "small_x2", "-o", path.with_suffix(".onnx"), "--images", folder / "in" / "1.png")
                refused("evaluate", "bicubic", "--scale", "2", "--root", path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".onnx"])
def test_a_file_that_may_not_be_read_is_not_said_to_be_missing(suffix: str) -> None:
    with unprivileged() as folder:
        path = folder / f"net{suffix}"
        hkdsr.save(tiny.nearest(2), folder / "net.safetensors")
        os.replace(folder / "net.safetensors", path)
        path.chmod(0)
        sentence = refusal(lambda: hkdsr.load(path))
        assert "ermission" in sentence
        assert "No such file" not in sentence


def test_no_home_folder_and_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pwd

    def unnamed(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unnamed)
    for name in ("HOME", "HKDSR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert "data.cache" in refusal(default_cache)
    assert "~" in refusal(lambda: hkdsr.load("~/net.safetensors"))
    images(tmp_path / "in", "1.png")
    settings = ("--student", "compact:features=4,convs=1", "--training.steps", "1", "--data.patch", "8")
    arguments = ("--data.train", tmp_path / "in", "--out", tmp_path / "out", *settings)
    assert "data.cache" in refused("train", *arguments)
    assert command("train", *arguments, "--data.cache", tmp_path / "cache").code == 0


@pytest.mark.parametrize("length", [200, 240, 250, 255])
def test_every_name_that_the_system_allows_can_be_written(length: int, tmp_path: Path) -> None:
    path = tmp_path / f"{'a' * (length - 4)}.png"
    write_image(path, ImageData(photo()))
    np.testing.assert_array_equal(read_image(path).colour, photo())
    wide = tmp_path / f"{'é' * ((length - 4) // 2)}.png"
    write_image(wide, ImageData(photo()))
    assert sorted(tmp_path.iterdir()) == sorted([path, wide])


class Untouched(type(tiny.nearest(2))):
    """Nothing may be spent on a result that cannot be written."""

    def forward(self, x: object) -> object:  # pyright: ignore
        raise AssertionError("the network ran")


def test_targets_that_cannot_be_written_are_noticed_before_the_work() -> None:
    network = tiny.nearest(2)
    network.__class__ = Untouched
    with unprivileged() as folder:
        images(folder / "in", "1.png")
        (folder / "file").touch()
        (folder / "shut").mkdir(mode=0o555)
        for target in (folder / "shut", folder / "file"):
            for name in ("b.png", "new/b.png"):
                refusal(
                    lambda path=target / name: upscale_file(network, folder / "in" / "1.png", path, handling=tiny.QUIET)
                )
            refusal(lambda path=target / "out": upscale_file(network, folder / "in", path, handling=tiny.QUIET))


def test_so_they_are_by_train(tmp_path: Path) -> None:
    with unprivileged() as folder:
        images(folder / "in", "1.png")
        (folder / "shut").mkdir(mode=0o555)
        settings = ("--student", "compact:features=4,convs=1", "--training.steps", "1", "--data.patch", "8")
        arguments = ("train", "--data.train", folder / "in", "--data.cache", folder / "cache", *settings)
        for out in (folder / "shut" / "out", folder / "in" / "1.png", folder / "in" / "1.png" / "out"):
            assert str(out) in refused(*arguments, "--out", out)
        assert not (folder / "cache").exists()


def test_several_sources_and_patterns_are_upscaled(tmp_path: Path) -> None:
    hkdsr.save(tiny.nearest(2), tmp_path / "nearest.safetensors")
    images(tmp_path / "in", "a.png b.png c.jpg")
    usual = ("-m", tmp_path / "nearest.safetensors", "-o")
    one, two = tmp_path / "in" / "a.png", tmp_path / "in" / "b.png"
    assert command("upscale", one, two, *usual, tmp_path / "out").code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert command("upscale", tmp_path / "in" / "*.png", *usual, tmp_path / "all").code == 0
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["a.png", "b.png"]
    refused("upscale", one, two, *usual, tmp_path / "c.png")
    refused("upscale", tmp_path / "in" / "*.bmp", *usual, tmp_path / "none")
    assert command("upscale", one, two, "-m", tmp_path / "nearest.safetensors").code == 0
    assert (tmp_path / "in" / "a_x2.png").is_file()
    assert (tmp_path / "in" / "b_x2.png").is_file()


def test_what_killed_processes_left_is_cleared_away(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".a.png.{ended.pid}.part"
    running = tmp_path / f".a.png.{os.getppid()}.part"
    other = tmp_path / ".notes.part"
    for path in (left, running, other):
        path.write_bytes(b"half")
    write_image(tmp_path / "a.png", ImageData(photo()))
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a.png", running, other])


@pytest.mark.parametrize("file", ["hr.u8", "lr.u8", "index.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "missing"])
def test_a_changed_store_is_noticed(file: str, damage: str, tmp_path: Path) -> None:
    pairs = find_pairs(images(tmp_path / "in", "1.png 2.png"), 2)
    store = build_store(pairs, 2, tmp_path / "cache", progress=False)
    wanted = [store.hr(1).copy(), store.lr(1).copy()]
    path = store.folder / file
    spoil(path, damage)
    again = build_store(pairs, 2, tmp_path / "cache", progress=False)
    for one, other in zip(wanted, (again.hr(1), again.lr(1)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.sizes == store.sizes


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "missing"])
def test_a_changed_store_of_the_teachers_images_is_noticed(damage: str, tmp_path: Path) -> None:
    store = build_store(find_pairs(images(tmp_path / "in", "1.png 2.png"), 2), 2, tmp_path / "cache", progress=False)
    derived = DerivedStore(tmp_path / "cache", store, "teacher", 1)
    for index in range(2):
        derived.put(index, [store.hr(index)])
    (data,) = derived.folder.glob("*.u8")
    spoil(data, damage)
    again = DerivedStore(tmp_path / "cache", store, "teacher", 1)
    for index in range(2):
        if index not in again.missing:
            np.testing.assert_array_equal(again.get(0, index), store.hr(index))


def spoil(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    match damage:
        case "flipped":
            path.write_bytes(content)
        case "cut":
            os.truncate(path, len(content) // 2)
        case "longer":
            os.truncate(path, len(content) + 7)
        case "missing":
            path.unlink()
