"""Stage 1: exits that learn, are kept by hash, survive a kill, and are refused if no better than bicubic."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from hkdsr.data.sources import Pair
from hkdsr.data.store import ImageStore, build_store
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, NetworkWithExits, enlarge
from hkdsr.nets.files.load import digest, load
from hkdsr.settings.recipe import ExitSettings, Training
from hkdsr.training.context import opened
from hkdsr.training.run import distill
from hkdsr.training.stage1 import ExitScores, Stage1Images, check_exits, score_exits, trained_exits

CPU = torch.device("cpu")
TRAINING = Training(device="cpu", log_every=10, seed=3)
SETTINGS = ExitSettings(stage1_steps=4, stage1_batch=2)
PATCH = 12


def exits_of(
    teacher: Network, store: ImageStore, settings: ExitSettings, training: Training, patch: int, cache: Path
) -> NetworkWithExits:
    with opened(cache / "run", training, {}, "training") as context:
        return trained_exits(teacher, Stage1Images(store, patch), settings, cache, context)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return tiny.store(tmp_path_factory.mktemp("data"))


@pytest.fixture
def teacher(tmp_path: Path) -> Network:
    return load(tiny.teacher(tmp_path / "teacher.safetensors"))


def heads(cache: Path) -> list[Path]:
    return sorted(cache.glob("exits-*/heads.safetensors"))


def pixel_errors(together: NetworkWithExits, store: ImageStore) -> list[float]:
    """Mean L1 over whole images: of bicubic, of each exit and, last, of the final output."""
    rows = []
    for index in range(len(store)):
        lr, hr = (
            torch.from_numpy(plane.copy()).permute(2, 0, 1)[None] / 255 for plane in (store.lr(index), store.hr(index))
        )
        with torch.no_grad():
            images = together(lr)
            rows.append([(p - hr).abs().mean().item() for p in (enlarge(lr, 2), *images.exits, images.final)])
    return np.mean(rows, axis=0).tolist()


def test_exits_learn_on_a_frozen_trunk(store: ImageStore, tmp_path: Path) -> None:
    teacher = load("compact_x2")
    trunk = digest(teacher.state_dict())
    final = pixel_errors(NetworkWithExits(teacher, Exits(teacher, ())), store)[-1]
    settings = dataclasses.replace(SETTINGS, stage1_steps=80, stage1_batch=4, stage1_lr=4e-3)
    together = exits_of(teacher, store, settings, TRAINING, PATCH, tmp_path)
    bicubic, *exits, after = pixel_errors(together, store)
    assert len(exits) == 2
    assert bicubic > exits[0] / 0.97 > exits[1] / 0.97 > final / 0.97
    assert after == final
    assert digest(together.network.state_dict()) == trunk
    assert not together.training
    assert not any(parameter.requires_grad for parameter in together.parameters())
    assert all(parameter.grad is None for parameter in together.network.parameters())
    scores = score_exits(together, store, CPU)
    assert scores.bicubic + 0.4 < scores.exits[0] < scores.exits[1] < scores.final


def test_a_plain_start_learns(teacher: Network, store: ImageStore, tmp_path: Path) -> None:
    def exits(steps: int) -> list[float]:
        settings = dataclasses.replace(SETTINGS, start="plain", stage1_steps=steps)
        together = exits_of(teacher, store, settings, TRAINING, PATCH, tmp_path)
        assert all(head.start == "plain" for head in together.exits.heads)
        return pixel_errors(together, store)[1:-1]

    before, after = exits(1), exits(80)
    assert max(after) < 0.6 * min(before)


def runs_of(teacher: Network, killed_at: int | None = None) -> list[int]:
    """Grows with every step of stage 1; that of the number ``killed_at`` (from 1) ends the process."""
    runs: list[int] = []

    def before(*_: object) -> None:
        runs.append(len(runs) + 1)
        if runs[-1] == killed_at:
            raise tiny.Killed

    teacher.blocks[0].register_forward_pre_hook(before)
    return runs


def test_the_second_call_trains_nothing(teacher: Network, store: ImageStore, tmp_path: Path) -> None:
    first_runs = runs_of(teacher)
    first = exits_of(teacher, store, SETTINGS, TRAINING, PATCH, tmp_path)
    assert len(first_runs) == SETTINGS.stage1_steps
    assert not list(tmp_path.glob("exits-*/last.pt"))
    torch.manual_seed(99)
    # Nothing of the student's own training shapes the heads.
    student = dataclasses.replace(TRAINING, steps=7, lr=0.5, gamma=0.1, ema=0.2, batch=9, milestones=(), seed=4)
    for training in (TRAINING, student):
        found = load(tmp_path / "teacher.safetensors")
        runs = runs_of(found)
        again = exits_of(found, store, SETTINGS, training, PATCH, tmp_path)
        assert not runs
        assert tiny.equal(again.state_dict(), first.state_dict())
        layouts = [p.is_contiguous() for p in again.parameters()]
        assert layouts == [p.is_contiguous() for p in first.parameters()]


def test_heads_do_not_depend_on_the_students_settings_or_on_chance(
    teacher: Network, store: ImageStore, tmp_path: Path
) -> None:
    other = dataclasses.replace(TRAINING, steps=7, lr=0.5, ema=0.2, batch=9, accumulate=2, milestones=(), seed=4)
    settings = dataclasses.replace(SETTINGS, stage1_steps=30)
    files = []
    for index, training in enumerate((TRAINING, other)):
        torch.manual_seed(index)
        exits_of(teacher, store, settings, training, PATCH, tmp_path / str(index))
        files += heads(tmp_path / str(index))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].parent.name == files[1].parent.name


@pytest.mark.parametrize(
    "changed",
    [
        {"teacher": (0.3, 0.5)},
        {"tail": "shuffle"},
        {"start": "plain"},
        {"stage1_steps": 3},
        {"stage1_lr": 2e-3},
        {"stage1_batch": 3},
        {"stage1_include_final": True},
        {"stage1_trainable": "all"},
        {"stage1_seed": 4},
        {"betas": (0.8, 0.99)},
        {"patch": 10},
        {"weights": True},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_other_heads_have_another_key(
    changed: dict[str, Any], teacher: Network, store: ImageStore, tmp_path: Path
) -> None:
    exits_of(teacher, store, SETTINGS, TRAINING, PATCH, tmp_path)
    mine = {key: value for key, value in changed.items() if hasattr(SETTINGS, key)}
    theirs = {key: value for key, value in changed.items() if hasattr(TRAINING, key)}
    if "weights" in changed:
        next(teacher.parameters()).data.view(-1)[0] += 1e-6
    settings, training = dataclasses.replace(SETTINGS, **mine), dataclasses.replace(TRAINING, **theirs)
    exits_of(teacher, store, settings, training, changed.get("patch", PATCH), tmp_path)
    assert len(heads(tmp_path)) == 2


def test_other_images_have_another_key(teacher: Network, store: ImageStore, tmp_path: Path) -> None:
    exits_of(teacher, store, SETTINGS, TRAINING, PATCH, tmp_path)
    exits_of(teacher, tiny.store(tmp_path, count=2), SETTINGS, TRAINING, PATCH, tmp_path)
    assert len(heads(tmp_path)) == 2


def test_a_killed_stage_1_continues(teacher: Network, store: ImageStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, stage1_steps=120)
    whole = exits_of(teacher, store, settings, TRAINING, PATCH, tmp_path / "whole")
    fresh = load(tmp_path / "teacher.safetensors")
    runs_of(fresh, killed_at=110)
    with pytest.raises(tiny.Killed):
        exits_of(fresh, store, settings, TRAINING, PATCH, tmp_path / "cut")
    assert not heads(tmp_path / "cut")
    fresh = load(tmp_path / "teacher.safetensors")
    runs = runs_of(fresh)
    cut = exits_of(fresh, store, settings, TRAINING, PATCH, tmp_path / "cut")
    assert len(runs) == 20  # those after the checkpoint at step 100
    assert tiny.equal(whole.state_dict(), cut.state_dict())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_scores_compare_the_same_place(scale: int, tmp_path: Path) -> None:
    """HR images that repeat the pixels of LR: only an aligned cut is reproduced without an error."""
    random = np.random.default_rng(0)
    pairs = []
    # Odd LR sizes, some of them above the side that is looked at.
    for index, size in enumerate([(31, 45), (101, 33), (33, 117), (107, 111)]):
        lr = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        hr, low = tmp_path / f"{index}.png", tmp_path / f"{index}x.png"
        Image.fromarray(lr).save(low)
        Image.fromarray(lr.repeat(scale, 0).repeat(scale, 1)).save(hr)
        pairs.append(Pair(str(index), hr, low))
    store = build_store(pairs, scale, tmp_path / "cache", workers=1)
    network = tiny.nearest(scale)
    together = NetworkWithExits(network, Exits(network, (0.4, 0.7))).eval()
    scores = score_exits(together, store, CPU)
    assert scores.final == float("inf")
    assert scores.bicubic < 40
    # Exits begin as bicubic.
    assert scores.exits == (scores.bicubic, scores.bicubic)


def test_scores_are_spread_over_the_set(tmp_path: Path) -> None:
    images = [Image.new("RGB", (40, 40), (index, 0, 0)) for index in range(30)]
    for index, image in enumerate(images):
        image.save(tmp_path / f"{index:02}.png")
    store = build_store([Pair(f"{i}", tmp_path / f"{i:02}.png") for i in range(30)], 2, tmp_path / "c", workers=1)
    seen: list[int] = []
    network = tiny.nearest(2)
    together = NetworkWithExits(network, Exits(network, ()))
    together.register_forward_pre_hook(lambda module, inputs: seen.append(round(inputs[0][0, 0, 0, 0].item() * 255)))
    score_exits(together, store, CPU)
    assert len(seen) == 12
    assert seen[0] == 0
    assert seen[-1] == 29
    assert max(np.diff(seen)) <= 3


def test_a_weak_exit_is_refused() -> None:
    scores = ExitScores(bicubic=30.0, exits=(29.9, 30.5, 30.0), final=33.0)
    sentence = (
        r"^the teacher's exit 1, 3 is no better than bicubic \(teacher's PSNR-Y on training images: bicubic 30\.00, "
        r"exit 1 29\.90, exit 2 30\.50, exit 3 30\.00, final 33\.00 dB\): raise exits\.stage1_steps, choose deeper "
        r"exits\.teacher, or set exits\.allow_weak$"
    )
    with pytest.raises(HkdsrError, match=sentence):
        check_exits(scores, allow_weak=False)
    check_exits(scores, allow_weak=True)
    check_exits(ExitScores(30.0, (30.1,), 29.0), allow_weak=False)


def test_a_run_with_a_weak_exit_stops_before_the_student_is_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=1)
    weak = dataclasses.replace(recipe.exits, stage1_steps=0, allow_weak=False)
    with pytest.raises(HkdsrError, match="exit 1, 2 is no better than bicubic"):
        distill(dataclasses.replace(recipe, exits=weak))
    assert any(text.startswith("teacher's PSNR-Y on training images: bicubic ") for text in caplog.messages)
    assert {path.name for path in recipe.out.iterdir()} == {".lock", "run.json"}
    distill(dataclasses.replace(recipe, exits=dataclasses.replace(weak, allow_weak=True)))
    assert (recipe.out / "student.safetensors").exists()


def test_no_steps_at_all(teacher: Network, store: ImageStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, stage1_steps=0)
    together = exits_of(teacher, store, settings, TRAINING, PATCH, tmp_path)
    bicubic, *exits, _ = pixel_errors(together, store)
    assert exits == pytest.approx([bicubic] * 2, rel=1e-6)


def test_a_patch_larger_than_every_image(teacher: Network, store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match=r"data\.patch is 48 LR pixels.*at most 28"):
        exits_of(teacher, store, SETTINGS, TRAINING, 48, tmp_path)
