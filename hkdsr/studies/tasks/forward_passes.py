"""Counting forward passes: how much of the student and of the teacher a training runs, step by step."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hkdsr.data.store import ImageStore
from hkdsr.files import write_atomically
from hkdsr.nets.base import Network
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.studies.tasks.machine import reset_peak_memory
from hkdsr.training.distiller import Distiller

FILE = "passes.jsonl"
DIGITS = 6

Line = dict[str, float]


class ForwardPassCounter:
    """Observes a training and counts how much of the student and of the teachers each step runs.

    One pass is one run of a whole network over as many LR pixels as a batch has. Runs over smaller or larger images,
    over part of a batch, or through some of the blocks count as the corresponding fraction or multiple. Copies of the
    student among the method's heads count as student, all teachers as teacher. Validation does not count.

    The counts are written to the run's folder whenever they change. A step that is repeated after a kill has the same
    counts, since random numbers depend on seed and step alone: the averages are those of an uninterrupted training.
    """

    def __init__(self, recipe: DistillRecipe, device: torch.device) -> None:
        self._path = recipe.out / FILE
        self._batch, self._patch = recipe.training.batch, recipe.data.patch
        self._device = device
        self._lines = _read(self._path)
        self._step: int | None = None
        self._passes: Counter[str] = Counter()
        self.cached = 0.0
        """Passes of the teacher that computed the images stored on disk."""

    def begin(self, module: Distiller, stored: ImageStore | None) -> None:
        """Start counting. ``stored``: the training images, if the teacher's outputs for them are read from disk."""
        copies = [] if module.heads is None else [part for part in module.heads.modules() if isinstance(part, Network)]
        for network in (module.student, *copies):
            self._count("student", network)
        for network in module.teachers:
            self._count("teacher", network)
        if stored is not None:
            lr_pixels = stored.offsets[-1] / 3 / stored.scale**2
            self.cached = lr_pixels / (self._batch * self._patch**2)

    def before_step(self, step: int) -> None:
        """Called before each step, in order."""
        if self._step is None:
            self._lines = [line for line in self._lines if line["step"] < step]
            write_atomically(self._path, "".join(map(_text, self._lines)).encode())
            reset_peak_memory(self._device)
        else:
            self._end_step()
        self._step = step

    def averages(self, steps: int) -> tuple[float, float]:
        """Mean passes of student and teacher per step, once all ``steps`` are done."""
        self._end_step()
        starts = [0, *(int(line["step"]) for line in self._lines[1:]), steps]
        lengths = [after - before for before, after in pairwise(starts)]
        student, teacher = (
            sum(length * line[role] for length, line in zip(lengths, self._lines, strict=False)) / max(steps, 1)
            for role in ("student", "teacher")
        )
        return student, teacher

    def _end_step(self) -> None:
        if self._step is None:
            return
        line = {role: round(self._passes[role], DIGITS) for role in ("student", "teacher")}
        if not self._lines or line.items() - self._lines[-1].items():
            self._lines.append({"step": self._step, **line})
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_text(self._lines[-1]))
        self._step = None
        self._passes.clear()

    def _count(self, role: str, network: Network) -> None:
        parts = network.counted
        side = self._patch + -self._patch % network.pad_multiple
        one_pass = len(parts) * self._batch * side**2
        own_parts = set(parts)

        # A function, not a method: a copy of the network copies its hooks, and with a method this object too.
        def count(module: nn.Module, given: Any, result: Any) -> None:
            if module in own_parts:
                features = given[0]
                self._passes[role] += len(features) * features.shape[-2] * features.shape[-1] / one_pass

        for part in parts:
            part.register_forward_hook(count)


def _read(path: Path) -> list[Line]:
    if not path.exists():
        return []
    # A kill may cut the last line; its step is then repeated.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line]


def _text(line: Line) -> str:
    return f"{json.dumps(line)}\n"
