"""Printing is the last and least part of the work: no name and no terminal can turn a done thing into a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from hostile import command, images

import hkdsr


@pytest.fixture
def network(tmp_path: Path) -> Path:
    hkdsr.save(tiny.nearest(2), tmp_path / "nearest.safetensors")
    return tmp_path / "nearest.safetensors"


NAMES = {"not UTF-8": os.fsdecode(b"caf\xe9.png"), "Japanese": "\u56f3.png", "arrow": "\u2192.png", "line": "a\nb.png"}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
@pytest.mark.parametrize("name", NAMES)
def test_names_that_cannot_be_printed(name: str, encoding: str, tmp_path: Path, network: Path) -> None:
    images(tmp_path / "in", "a.png")
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / NAMES[name])
    target = tmp_path / f"large_{NAMES[name]}"
    ended = command("upscale", tmp_path / "in" / NAMES[name], "-o", target, "-m", network, encoding=encoding)
    assert ended.code == 0, ended
    assert target.is_file()
    assert len([line for line in ended.said.splitlines() if line.strip()]) == 1
    ended = command("upscale", tmp_path / "in", "-o", tmp_path / "out", "-m", network, encoding=encoding)
    assert ended.code == 0, ended


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_and_are_missing(name: str, encoding: str, tmp_path: Path, network: Path) -> None:
    ended = command("upscale", tmp_path / NAMES[name], "-m", network, encoding=encoding)
    assert ended.code == 2
    assert len([line for line in ended.said.splitlines() if line.strip()]) == 1
    ended = command("info", tmp_path / NAMES[name], encoding=encoding)
    assert ended.code == 2


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_what_the_commands_print_needs_no_unicode(encoding: str, tmp_path: Path, network: Path) -> None:
    images(tmp_path / "Set9", "\u56f3.png")
    for arguments in (
        ("evaluate", network, "--root", tmp_path, "--sets", "Set9", "--per-image"),
        ("info", network),
        ("strip", tmp_path / "Set9" / "\u56f3.png", network, "--side", "16", "-o", tmp_path / "\u56f3.png"),
        ("--help",),
    ):
        assert command(*arguments, encoding=encoding).code == 0


@pytest.mark.parametrize("first", ["info", "evaluate", "upscale", "help"])
def test_a_closed_pipe_is_no_traceback(first: str, tmp_path: Path, network: Path) -> None:
    images(tmp_path / "Set9", "1.png 2.png")
    target = tmp_path / "large.png"
    arguments = {
        "info": ("info", network),
        "evaluate": ("evaluate", network, "--root", tmp_path, "--sets", "Set9", "--per-image"),
        "upscale": ("upscale", tmp_path / "Set9" / "1.png", "-o", target, "-m", network),
        "help": ("distill", "--help"),
    }[first]
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", buffering=1) as stdout:
        ended = command(*arguments, stdout=stdout)
    assert "Traceback" not in ended.said
    assert first != "upscale" or target.is_file()


def test_nor_is_it_at_the_end_of_the_process(tmp_path: Path) -> None:
    images(tmp_path / "Set9", "1.png 2.png")
    line = (
        f'"{sys.executable}" -m hkdsr evaluate bicubic --scale 2 --root "{tmp_path}" --sets Set9 --per-image | head -1'
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_nothing_can_be_printed_at_all(tmp_path: Path, network: Path) -> None:
    images(tmp_path / "in", "1.png")
    with open("/dev/full", "w", buffering=1) as stdout:
        command("upscale", tmp_path / "in" / "1.png", "-o", tmp_path / "large.png", "-m", network, stdout=stdout)
    assert (tmp_path / "large.png").is_file()
