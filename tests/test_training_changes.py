"""What a distillation changes and what it leaves alone: student, exits and gates, but not the teacher."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import nn

from hkdsr.methods import HKDSR
from hkdsr.nets.files.load import digest, load
from hkdsr.training.run import distill


@pytest.mark.parametrize("images", ["live", "cached"])
def test_training_leaves_the_teacher_alone(images: Any, tmp_path: Path) -> None:
    """The released code never put its teacher into eval mode."""
    recipe = tiny.exits(tiny.recipe(tmp_path, HKDSR(), save_every=1), teacher_images=images)
    teacher = load(recipe.teacher).train()
    before = digest(teacher.state_dict())
    modes: list[tuple[bool, bool]] = []
    used: set[nn.Conv2d] = set()

    def note(layer: nn.Module, *_: object) -> None:
        assert isinstance(layer, nn.Conv2d)
        modes.append((layer.training, torch.is_grad_enabled()))
        used.add(layer)

    layers = [layer for layer in teacher.modules() if isinstance(layer, nn.Conv2d)]
    for layer in layers:
        layer.register_forward_hook(note)
    distill(dataclasses.replace(recipe, teacher=teacher))
    assert len(modes) > len(list((tmp_path / "images").iterdir()))
    assert set(modes) == {(False, False)}
    # A network given in Python is copied: neither it nor the copy has changed.
    assert digest(teacher.state_dict()) == before
    assert len(used) == len(layers)
    weights = [layer.weight for layer in layers]
    assert all(any(torch.equal(layer.weight, weight) for weight in weights) for layer in used)
    assert all(parameter.grad is None for layer in used for parameter in layer.parameters())


def test_training_changes_student_exits_and_gates(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=2)
    distill(recipe)
    few = tiny.state(recipe.out)["model"]
    more = dataclasses.replace(recipe, out=tmp_path / "more", training=dataclasses.replace(recipe.training, steps=9))
    distill(more)
    many = tiny.state(more.out)["model"]
    groups = ["student.body", "exits.heads.0", "exits.heads.1", *(f"heads.{index}.gate" for index in range(3))]
    assert {name for name in few if not name.startswith(tuple(groups))} == set()
    for group in groups:
        names = [name for name in few if name.startswith(group)]
        assert names
        assert any(not torch.equal(few[name], many[name]) for name in names), group
