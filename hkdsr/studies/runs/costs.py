"""What a training takes beside its seconds: passes through student and teacher, counted as they happen, and memory."""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hkdsr.data.store import ImageStore
from hkdsr.files import write_atomically
from hkdsr.nets.base import Network
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.distiller import Distiller

FILE = "passes.jsonl"
DIGITS = 6
STATUS, CLEAR, CPU_INFO = (Path("/proc") / name for name in ("self/status", "self/clear_refs", "cpuinfo"))
HIGH_WATER = "VmHWM:"

Line = dict[str, float]


class PassCounter:
    """Watches a training and counts how much of student and teachers each step runs.

    One pass is one run of a whole network over as many LR pixels as a batch has; runs over smaller or larger images,
    over part of a batch, or through some of the blocks count as such shares of it. Copies of the student among the
    method's heads count as student, all teachers as teacher. Validation does not count.

    Changes are kept in the run's folder. A step done again after a kill repeats its counts, since random draws depend
    on seed and step alone: so the averages are those of a training that was never killed.
    """

    def __init__(self, recipe: DistillRecipe, device: torch.device) -> None:
        self._path = recipe.out / FILE
        self._batch, self._patch = recipe.training.batch, recipe.data.patch
        self._device = device
        self._lines = _read(self._path)
        self._step: int | None = None
        self._passes: Counter[str] = Counter()
        self.cached = 0.0
        """Passes of the teacher that made the images kept on disk."""

    def begin(self, module: Distiller, stored: ImageStore | None) -> None:
        """Count from now on. ``stored`` holds the images whose teacher's outputs are read from disk, if they are."""
        copies = [] if module.heads is None else [part for part in module.heads.modules() if isinstance(part, Network)]
        for network in (module.student, *copies):
            self._watch("student", network)
        for network in module.teachers:
            self._watch("teacher", network)
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
        """Passes of student and teacher in an average step, once all ``steps`` are done."""
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

    def _watch(self, role: str, network: Network) -> None:
        parts = network.counted
        side = self._patch + -self._patch % network.pad_multiple
        whole = len(parts) * self._batch * side**2
        watched = set(parts)

        # A function, because copying a network copies its hooks, and with a method the object it belongs to.
        def count(module: nn.Module, given: Any, result: Any) -> None:
            if module in watched:
                features = given[0]
                self._passes[role] += len(features) * features.shape[-2] * features.shape[-1] / whole

        for part in parts:
            part.register_forward_hook(count)


def reset_peak_memory(device: torch.device) -> None:
    """Forget what was used before; where the system cannot, ``peak_memory`` is that of the process's whole life."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            CLEAR.write_text("5")


def peak_memory(device: torch.device) -> int:
    """The most bytes in use since the reset: of the GPU's memory by torch, else of main memory by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    for line in _lines_of(STATUS):
        if line.startswith(HIGH_WATER):
            return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def device_name(device: torch.device) -> str:
    """What was computed on: the GPU's model, or the CPU's with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    told = f"{threads} CPU thread{'s' if threads > 1 else ''}" if device.type == "cpu" else str(device)
    models = (line.partition(":")[2].strip() for line in _lines_of(CPU_INFO) if line.startswith("model name"))
    return " of ".join(filter(None, (told, next(models, ""))))


def _lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _read(path: Path) -> list[Line]:
    if not path.exists():
        return []
    # A kill may cut the last line; its step is done again.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line]


def _text(line: Line) -> str:
    return f"{json.dumps(line)}\n"
