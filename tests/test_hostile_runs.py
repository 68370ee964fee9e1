"""Runs that go on, teachers that are networks already, and machines where nothing but the result may be written."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hostile import NOBODY, command, images, refusal

import hkdsr
from hkdsr.methods import Logits
from hkdsr.nets.files.load import build

# Everything is imported by root, who may read it; the kernels are compiled by a user who may write nowhere.
WITHOUT_A_CACHE = """
import os, sys
import numba, torch
import hkdsr.losses.compiled
numba.njit(lambda x: x + 1)(1.0)
if os.geteuid() == 0:
    os.setuid(int(sys.argv[1]))
from hkdsr.losses import compiled, fsm
features = torch.rand(1, 3, 8, 8)
loops = compiled.kernels(features)
print("loops" if loops else "none")
from hkdsr.losses.signed_mean import signed_mean
print(signed_mean(torch.ones(1, 3, 4), torch.ones(1, 3, 5)).shape)
"""


def test_more_steps_go_on_from_the_end(tmp_path: Path) -> None:
    images(tmp_path / "in", "1.png 2.png")
    folders = ("--data.train", tmp_path / "in", "--data.cache", tmp_path / "cache", "--out", tmp_path / "out")
    settings = ("--student", "compact:features=4,convs=1", "--data.patch", "8", "--training.log-every", "1")
    for steps in (3, 5):
        ended = command("train", *folders, *settings, "--training.device", "cpu", "--training.steps", str(steps))
        assert ended.code == 0, ended.said
    assert "continuing at step 3" in ended.said
    assert [line[0] for line in tiny.losses(tmp_path / "out") if line[2]] == [1, 2, 3, 4, 5]
    fewer = command("train", *folders, *settings, "--training.device", "cpu", "--training.steps", "2")
    assert fewer.code == 2
    assert "training.steps" in fewer.said


def test_a_teacher_may_be_a_network(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=2)
    by_file = hkdsr.distill(recipe).network.state_dict()
    shutil.rmtree(recipe.out)
    by_network = hkdsr.distill(dataclasses.replace(recipe, teacher=hkdsr.load(recipe.teacher))).network.state_dict()
    assert all(torch.equal(by_network[key], value) for key, value in by_file.items())
    by_path = hkdsr.distill(dataclasses.replace(recipe, teacher=Path(recipe.teacher))).network.state_dict()
    assert all(torch.equal(by_path[key], value) for key, value in by_file.items())


@pytest.mark.parametrize("teacher", [None, 3, {}, b"net", np.zeros(3)], ids=lambda x: type(x).__name__)
def test_other_teachers_get_a_sentence(teacher: object, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=2)
    assert "teacher" in refusal(lambda: hkdsr.distill(dataclasses.replace(recipe, teacher=teacher)))  # pyright: ignore
    assert "network" in refusal(lambda: hkdsr.load(teacher))  # pyright: ignore


def test_what_is_no_description_of_a_network_gets_a_sentence() -> None:
    for description in ("", ":", "compact:", "compact:=", "compact:features=1e400", "compact:features=" + "9" * 5000):
        if description != "compact:":
            refusal(lambda text=description: build(text, 2))


def test_the_losses_run_where_nothing_can_be_cached(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    package = Path(hkdsr.__file__).parent
    shutil.copytree(package, tmp_path / "hkdsr", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA")}
    environment |= {"PYTHONPATH": str(tmp_path), "HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_A_CACHE, str(NOBODY)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment,
            cwd="/",
        )
    finally:
        for path in (tmp_path, *tmp_path.rglob("*")):
            path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "torch.Size" in done.stdout
