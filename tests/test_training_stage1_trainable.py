"""Stage 1 that trains the whole teacher, and not its exit heads alone: on a copy, with the terms asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from test_training_stage1 import PATCH, SETTINGS, TRAINING, exits_of, heads, pixel_errors, store, teacher

from hkdsr.data.store import ImageStore
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import digest, load
from hkdsr.training.log import read_log

__all__ = ["store", "teacher"]


@pytest.mark.parametrize("kind", ["separate", "shared"])
def test_training_all_of_the_teacher_leaves_its_file_alone(
    kind: Any, teacher: Network, store: ImageStore, tmp_path: Path
) -> None:
    file = tmp_path / "teacher.safetensors"
    before, content = digest(teacher.state_dict()), file.read_bytes()
    settings = dataclasses.replace(SETTINGS, kind=kind, stage1_trainable="all", stage1_include_final=True)
    tuned = exits_of(teacher, store, settings, TRAINING, PATCH, tmp_path)
    assert file.read_bytes() == content
    assert digest(tuned.network.state_dict()) != before
    assert not tuned.training
    assert not any(parameter.requires_grad for parameter in tuned.parameters())
    found = exits_of(load(file), store, settings, TRAINING, PATCH, tmp_path)
    assert tiny.equal(found.state_dict(), tuned.state_dict())
    assert digest(load(file).state_dict()) == before
    assert len(heads(tmp_path)) == 1


def test_training_all_keeps_the_colour_shift(teacher: Network, store: ImageStore, tmp_path: Path) -> None:
    """The released code trains the fixed mean colour too."""
    shift = {name: value.clone() for name, value in teacher.state_dict().items() if "_mean" in name}
    assert shift
    settings = dataclasses.replace(SETTINGS, stage1_trainable="all", stage1_include_final=True)
    tuned = exits_of(teacher, store, settings, TRAINING, PATCH, tmp_path).network.state_dict()
    assert all(torch.equal(tuned[name], value) for name, value in shift.items())


def test_a_shared_tail_learns_only_with_the_whole_teacher(teacher: Network, store: ImageStore, tmp_path: Path) -> None:
    frozen = dataclasses.replace(SETTINGS, kind="shared")
    before = pixel_errors(exits_of(teacher, store, frozen, TRAINING, PATCH, tmp_path), store)
    assert not heads(tmp_path)
    settings = dataclasses.replace(
        frozen, stage1_trainable="all", stage1_include_final=True, stage1_steps=40, stage1_lr=3e-3
    )
    after = pixel_errors(exits_of(teacher, store, settings, TRAINING, PATCH, tmp_path), store)
    assert all(new < 0.7 * old for old, new in zip(before[1:], after[1:], strict=True))


def test_the_final_exit_is_a_term_only_where_asked_for(teacher: Network, store: ImageStore, tmp_path: Path) -> None:
    for include in (False, True):
        settings = dataclasses.replace(SETTINGS, stage1_include_final=include, stage1_trainable="all")
        exits_of(teacher, store, settings, TRAINING, PATCH, tmp_path / str(include))
        (folder,) = (tmp_path / str(include)).glob("exits-*")
        assert list(read_log(folder)[-1]["losses"]) == ["exit1", "exit2", "final"][: 2 + include]
