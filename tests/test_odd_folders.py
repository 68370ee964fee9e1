"""What else lies in people's folders: of the system, of other programs, half copied, gone, and named oddly."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tiny
from hostile import command, images, photo, refusal, refused
from PIL import Image

import hkdsr
from hkdsr.data import read_image
from hkdsr.data.sources import find_pairs
from hkdsr.deploy.upscale_files import upscale_file

TRAIN = (
    "--student",
    "compact:features=4,convs=1",
    "--training.steps",
    "1",
    "--training.batch",
    "1",
    "--data.patch",
    "8",
)


def of_kind(kind: str) -> bytes:
    file = BytesIO()
    Image.fromarray(photo()).save(file, "PNG")
    return {
        "empty": b"",
        "HEIC": b"\0\0\0\x18ftypheic" + bytes(40),
        "web page": b"\n<!DOCTYPE html><html>404</html>",
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        "PDF": b"%PDF-1.7\n",
        "damaged": file.getvalue()[: len(file.getvalue()) // 2],  # as it is while it is copied
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "HEIC", "web page", "Git LFS", "PDF", "damaged"])
def test_a_file_that_is_something_else_is_said_to_be_that(kind: str, tmp_path: Path) -> None:
    folder = images(tmp_path / "in", "good.png", 40, 48)
    (folder / "bad.png").write_bytes(of_kind(kind))
    said = refused("upscale", folder, "-o", tmp_path / "out", "-m", "compact_x2")
    assert "bad.png" in said
    assert kind in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
    assert kind in refused("evaluate", "bicubic", "--scale", "2", "--root", tmp_path, "--sets", "in")
    folders = ("--data.train", folder, "--data.cache", tmp_path / "cache", "--out", tmp_path / "run")
    assert kind in refused("train", *TRAIN, *folders)


def test_links_to_what_is_gone_are_not_passed_over(tmp_path: Path) -> None:
    folder = images(tmp_path / "in", "good.png", 40, 48)
    (folder / "away.png").symlink_to(tmp_path / "unmounted" / "away.png")
    (folder / "more").symlink_to(tmp_path / "unmounted")
    said = command("upscale", folder, "-o", tmp_path / "out", "-m", "compact_x2")
    assert said.code == 2
    assert "away.png is a link to a file that is gone" in said.said
    assert (tmp_path / "out" / "good.png").is_file()
    assert "away.png" in refused("evaluate", "bicubic", "--scale", "2", "--root", tmp_path, "--sets", "in")
    folders = ("--data.train", folder, "--data.cache", tmp_path / "cache", "--out", tmp_path / "run")
    trained = command("train", *TRAIN, *folders)
    assert trained.code == 2
    assert "away.png" in trained.said
    assert f"{folder / 'more'} is a link to something that is gone" in trained.said


def test_thumbnails_and_deleted_images_are_not_trained_on(tmp_path: Path) -> None:
    folder = images(tmp_path / "in", "good.png ._good.png", 40, 48)
    for name in ("@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", ".thumbnails"):
        images(folder / name, "a.png", 40, 48)
    (folder / "Thumbs.db").write_bytes(b"x")
    assert [pair.file.name for pair in find_pairs(folder, 2)] == ["good.png"]


NAMES = ("line\nbreak.png", "\U0001f600.png", "[brackets].png", "-dash.png", "100%.png", "q\"uote'.png", "a.b.PNG")


def test_odd_names_and_the_formats_of_other_suffixes(tmp_path: Path) -> None:
    for index, name in enumerate(NAMES):
        (tmp_path / "in").mkdir(exist_ok=True)
        form = ("PNG", "JPEG", "WEBP")[index % 3]
        Image.fromarray(photo(40, 48)).save(tmp_path / "in" / name, form)
    assert command("upscale", tmp_path / "in", "-o", tmp_path / "out", "-m", "compact_x2").code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(NAMES)
    said = command("evaluate", "bicubic", "--scale", "2", "--root", tmp_path, "--sets", "in", "--per-image")
    assert said.code == 0
    assert len(find_pairs(tmp_path / "in", 2)) == len(NAMES)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_thin_images_are_enlarged(size: tuple[int, int], tmp_path: Path) -> None:
    Image.fromarray(np.full((*size, 3), 99, np.uint8)).save(tmp_path / "a.png")
    upscale_file(hkdsr.load("compact_x2"), tmp_path / "a.png", tmp_path / "b.png", handling=tiny.QUIET)
    assert read_image(tmp_path / "b.png").colour.shape == (2 * size[0], 2 * size[1], 3)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "pipe.png" in refusal(lambda: read_image(tmp_path / "pipe.png"))


@pytest.mark.parametrize("sources", ["x/a.png y/a.png", "x y/a.png", "x y", "x/a.png x/a.jpg"])
def test_several_sources_of_one_target_are_refused_before_anything_is_written(sources: str, tmp_path: Path) -> None:
    images(tmp_path / "x", "a.png a.jpg")
    images(tmp_path / "y", "a.png")
    into = () if "jpg" in sources else ("-o", tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    said = refused("upscale", *(tmp_path / source for source in sources.split()), "-m", "compact_x2", *into)
    assert "would both become" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_gif_that_promises_what_it_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    Image.fromarray(photo()[..., 0]).save(path)
    content = bytearray(path.read_bytes())
    assert read_image(path).colour.shape == (24, 30, 3)
    content[6:10] = b"\x22\x07\x15\xff"
    path.write_bytes(bytes(content))
    assert "1826x65301" in refusal(lambda: upscale_file(tiny.nearest(2), path, tmp_path / "b.png", handling=tiny.QUIET))
