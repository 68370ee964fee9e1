"""Exact resume: a run that was killed at any moment, or moved, ends with the weights of an uninterrupted one."""

from __future__ import annotations

import dataclasses
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors import safe_open

from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits, Method, Plain
from hkdsr.training.log import read_log
from hkdsr.training.run import distill

RANDOM_HKDSR = HKDSR(fsm_samples=20, fsm_crop=16)


def start(folder: Path, out: Path, cache: Path) -> subprocess.Popen[bytes]:
    """The real command: HKDSR with stage 1, cached teacher's images and 90 steps."""
    flags = {
        "--teacher": folder / "teacher.safetensors",
        "--student": tiny.STUDENT,
        "--out": out,
        "--data.train": folder / "images",
        "--data.patch": 12,
        "--data.cache": cache,
        "--training.steps": 90,
        "--training.batch": 3,
        "--training.ema": 0.9,
        "--training.save-every": 7,
        "--training.log-every": 1,
        "--training.threads": 1,
        "--training.device": "cpu",
        "--exits.stage1-steps": 130,
        "--exits.stage1-batch": 2,
        "--method.fsm-samples": 20,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    command = [sys.executable, "-m", "hkdsr", "distill", *words, *tiny.UNTRAINED]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output.decode()


def kill_once(process: subprocess.Popen[bytes], due: Callable[[], bool]) -> None:
    while process.poll() is None and not due():
        time.sleep(0.001)
    process.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {output.decode()}"


def test_a_run_killed_in_every_stage_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    tiny.photographs(tmp_path / "images", count=40)
    tiny.teacher(tmp_path / "teacher.safetensors")
    whole, cut = (tmp_path / "whole", tmp_path / "cache_whole"), (tmp_path / "cut", tmp_path / "cache_cut")
    finish(start(tmp_path, *whole))
    out, cache = cut
    moments = random.Random(5)
    kill_once(start(tmp_path, *cut), lambda: any(cache.glob("exits-*/last.pt")))
    assert not any(cache.glob("exits-*/heads.safetensors"))
    kill_once(start(tmp_path, *cut), lambda: any(log.stat().st_size > 20 for log in cache.glob("derived-*/*.log")))
    assert not (out / "log.jsonl").exists()
    for low, high in ((1, 6), (30, 45), (60, 75)):
        goal = moments.randint(low, high)
        kill_once(start(tmp_path, *cut), lambda goal=goal: len(read_log(out)) >= goal)
    assert 56 <= tiny.state(out)["step"] < 90
    finish(start(tmp_path, *cut))

    (heads,), (heads_cut,) = (list(folder.glob("exits-*/heads.safetensors")) for _, folder in (whole, cut))
    assert heads.read_bytes() == heads_cut.read_bytes()
    planes, planes_cut = (sorted(folder.glob("derived-*/images.u8")) for _, folder in (whole, cut))
    assert len(planes) == 2  # of the exits and of the final images
    assert [file.read_bytes() for file in planes] == [file.read_bytes() for file in planes_cut]
    state, state_cut = tiny.state(whole[0]), tiny.state(out)
    assert any(name.startswith("heads.0.gate") for name in state["model"])
    for part in ("step", "fingerprint", "best", "model", "average", "optimiser"):
        assert tiny.equal(state[part], state_cut[part]), part
    assert tiny.losses(whole[0]) == tiny.losses(out)
    assert len(tiny.losses(out)) == 90
    with (
        safe_open(whole[0] / "student.safetensors", "pt") as weights,
        safe_open(out / "student.safetensors", "pt") as weights_cut,
    ):
        names = list(weights.keys())
        assert names == list(weights_cut.keys())
        assert all(torch.equal(weights.get_tensor(name), weights_cut.get_tensor(name)) for name in names)
        metadata, metadata_cut = weights.metadata(), weights_cut.metadata()
        assert metadata.pop("seconds")
        assert metadata_cut.pop("seconds")
        assert metadata == metadata_cut
    assert not list(tmp_path.glob("*/.*.part"))


@pytest.mark.parametrize("method", [Plain(), Plain(exit_weight=0.2), Logits(), RANDOM_HKDSR], ids=lambda m: str(m)[:24])
def test_resume_is_exact(method: Method, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, method)
    whole = dataclasses.replace(recipe, out=tmp_path / "whole")
    distill(whole)
    with pytest.raises(tiny.Killed):
        distill(recipe, tiny.KilledAt(8))
    assert tiny.state(recipe.out)["step"] == 5
    assert len(read_log(recipe.out)) == 8
    distill(recipe)
    state, state_cut = tiny.state(whole.out), tiny.state(recipe.out)
    for part in ("step", "fingerprint", "best", "model", "average", "optimiser"):
        assert tiny.equal(state[part], state_cut[part]), part
    assert tiny.losses(whole.out) == tiny.losses(recipe.out)


def test_the_gates_start_alike_whether_stage_1_was_trained_or_found(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=1)
    distill(recipe)
    assert list((tmp_path / "cache").glob("exits-*/heads.safetensors"))
    distill(dataclasses.replace(recipe, out=tmp_path / "again"))
    assert tiny.equal(tiny.state(recipe.out)["model"], tiny.state(tmp_path / "again")["model"])


@pytest.mark.parametrize(
    ("setting", "change"),
    [
        ("training.lr", lambda r: dataclasses.replace(r, training=dataclasses.replace(r.training, lr=2e-3))),
        ("exits.stage1_steps", lambda r: dataclasses.replace(r, exits=dataclasses.replace(r.exits, stage1_steps=13))),
        ("method.sim_w", lambda r: dataclasses.replace(r, method=HKDSR(sim_w=0.3))),
        ("student", lambda r: dataclasses.replace(r, student="compact:features=5,convs=4")),
    ],
)
def test_other_settings_are_refused_before_anything_is_trained(
    setting: str, change: Callable[[Any], Any], tmp_path: Path
) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=2)
    distill(recipe)
    before = (recipe.out / "last.pt").read_bytes()
    exits = sorted((tmp_path / "cache").glob("exits-*"))
    with pytest.raises(HkdsrError, match=rf"out was begun with other settings \({setting}\): set them back, or change"):
        distill(change(recipe))
    assert (recipe.out / "last.pt").read_bytes() == before
    assert sorted((tmp_path / "cache").glob("exits-*")) == exits


def test_other_teacher_or_images_are_refused(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=2)
    distill(recipe)
    file = tmp_path / "teacher.safetensors"
    original = file.read_bytes()
    tiny.teacher(file, "edsr:features=7,blocks=3")
    with pytest.raises(HkdsrError, match=r"\(content of teacher\)"):
        distill(recipe)
    file.write_bytes(original)
    (tmp_path / "images" / "00.png").unlink()
    with pytest.raises(HkdsrError, match=r"\(images of data\.train\)"):
        distill(recipe)


def test_exits_count_only_where_they_are_used(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=2)
    exits = dataclasses.replace(recipe.exits, student=(0.5,), teacher=(0.5,), kind="shared", stage1_steps=1)
    distill(recipe)
    assert distill(dataclasses.replace(recipe, exits=exits)).steps == 2
    with pytest.raises(HkdsrError, match=r"\(exits\.teacher_images\)"):
        distill(dataclasses.replace(recipe, exits=dataclasses.replace(recipe.exits, teacher_images="live")))


def test_free_settings_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path, RANDOM_HKDSR)
    whole = dataclasses.replace(recipe, out=tmp_path / "whole")
    distill(whole)
    with pytest.raises(tiny.Killed):
        distill(recipe, tiny.KilledAt(7))
    recipe.out.rename(tmp_path / "moved")
    (tmp_path / "cache").rename(tmp_path / "cache2")
    (tmp_path / "images").rename(tmp_path / "images2")
    (tmp_path / "teacher.safetensors").rename(tmp_path / "teacher2.safetensors")
    tiny.photographs(tmp_path / "val", count=1)
    data = dataclasses.replace(
        recipe.data,
        train=(tmp_path / "images2",),
        cache=tmp_path / "cache2",
        val=tmp_path / "val",
        val_images=1,
    )
    training = dataclasses.replace(
        recipe.training, log_every=3, save_every=4, validate_every=6, device="auto", threads=torch.get_num_threads()
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    teacher = str(tmp_path / "teacher2.safetensors")
    distill(dataclasses.replace(recipe, teacher=teacher, out=tmp_path / "moved", data=data, training=training))
    state, moved = tiny.state(whole.out), tiny.state(tmp_path / "moved")
    assert tiny.equal(state["model"], moved["model"])
    assert tiny.equal(state["average"], moved["average"])
    assert [line["step"] for line in read_log(tmp_path / "moved")] == [1, 2, 3, 4, 5, 6, 6, 9, 12, 12]
