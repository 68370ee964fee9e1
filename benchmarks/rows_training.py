"""Rows about training: its loader and plain step beside BasicSR's and beside the CPU's rate, an HKDSR step, growth."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import photographs
from benchmarks.photographs import crops
from benchmarks.rival_basicsr import BATCH, PATCH, SCALE, BasicSR, basicsr, stepping
from benchmarks.rounds import Form, Missing, Pair
from benchmarks.step import stepper
from hkdsr.data.crops import CropSampler, Prefetcher
from hkdsr.data.derived import DerivedStore
from hkdsr.data.embedded import demo_files
from hkdsr.data.store import ImageStore
from hkdsr.methods import HKDSR, Plain
from hkdsr.nets.files.load import build
from hkdsr.scoring import cost
from hkdsr.settings.recipe import Training
from hkdsr.training.context import Context
from hkdsr.training.distiller import Distiller
from hkdsr.training.log import read_log
from hkdsr.training.step import Steps

STUDENT, STUDENT_X4 = "compact:features=32,convs=8", "compact:features=24,convs=8"
CPU = torch.device("cpu")
PLANES = 3
TRAINING = Training(batch=BATCH, precision="fp32")
CHEAPER = HKDSR(exits_every=4, fsm_samples=256)
MATRIX = 1024
LAUNCHED_STEPS, LOADED = 24, 6


@contextmanager
def beside_basicsr(folder: Path) -> Iterator[list[Pair]]:
    """Loader and plain step of Compact 32x8 at x2, batch 16, LR 48, and the same work by BasicSR."""
    store = photographs.store(folder, SCALE)
    rival = basicsr(store, folder / "rival")
    with ExitStack() as stack:
        steps = {
            "fp32": TRAINING,
            "bf16": dataclasses.replace(TRAINING, precision="bf16"),
            "bf16, compiled": dataclasses.replace(TRAINING, precision="bf16", compile="yes"),
        }
        loading = {name: _loading_step(settings, store, folder, stack) for name, settings in steps.items()}
        alone = {name: _repeated_step(settings, store, folder) for name, settings in steps.items()}
        pairs = [
            Pair(f"{LOADED} plain steps with their loader, {name}", against, loading[name], theirs, goal)
            for against, theirs in _loading_steps_of(rival)
            for name, goal in (("fp32", 1 / 2.5), ("bf16, compiled", 1 / 2.5))
        ]
        batch = None if isinstance(rival, Missing) else next(rival.loader())
        theirs = rival if isinstance(rival, Missing) else stepping(rival.model(), iter(lambda: batch, None))
        goals = {"fp32": 1 / 1.2, "bf16": 1 / 2, "bf16, compiled": 1 / 2}
        pairs += [Pair(f"plain step alone, {n}", "BasicSR's step", alone[n], theirs, g) for n, g in goals.items()]
        work = 3 * BATCH * cost(build(STUDENT, SCALE), (SCALE * PATCH, SCALE * PATCH)).macs / MATRIX**3
        product = _matrix_product()
        against = "as many multiply-adds in fp32 matrix products"
        for name, goal in (("fp32", None), ("bf16", 1 / 1.38), ("bf16, compiled", 1 / 1.71)):
            pairs.append(Pair(f"plain step alone, {name}", against, alone[name], product, goal, work=work))
        yield pairs


@contextmanager
def crops_beside_basicsr(folder: Path) -> Iterator[list[Pair]]:
    """Crops from our store, with and without the teacher's images, and from PNG files and LMDB by BasicSR."""
    store = photographs.store(folder, SCALE)
    rival = basicsr(store, folder / "rival")
    teacher = DerivedStore(folder, store, "copies of HR", PLANES)
    for index in teacher.missing:
        teacher.put(index, [store.hr(index)] * PLANES)
    forms = {
        "crops": _batches(CropSampler(store, PATCH, BATCH, 0)),
        f"crops with {PLANES} images of a teacher": _batches(CropSampler(store, PATCH, BATCH, 0, teacher)),
    }
    theirs = {
        f"BasicSR's loader of {kind}": rival if isinstance(rival, Missing) else _drawn(rival.loader(backend))
        for kind, backend in (("PNG files", "disk"), ("LMDB", "lmdb"))
    }
    goals = {"crops": 1 / 78, f"crops with {PLANES} images of a teacher": 1 / 30}
    yield [Pair(n, a, forms[n], theirs[a], goals[n], by_cpu=True) for n in forms for a in theirs]


@contextmanager
def distillation(folder: Path) -> Iterator[list[Pair]]:
    """An HKDSR step with the teacher's images in memory, and a plain one of the same student without exits."""
    pairs = []
    for scale, student, patch, goal in ((2, STUDENT, 48, 1.3), (4, STUDENT_X4, 32, 1.8)):
        lr, hr = crops(BATCH, patch, scale)
        for precision in ("fp32", "bf16"):
            plain, whole, cheap = (stepper(student, m, lr, hr, precision) for m in (Plain(), HKDSR(), CHEAPER))
            name, against = f"HKDSR step, x{scale}, LR {patch}, {precision}", "plain step without exits"
            pairs.append(Pair(name, against, whole, plain, goal))
            pairs.append(Pair(f"{name}, exits_every = 4, fsm_samples = 256", against, cheap, plain, goal))
    yield pairs


@contextmanager
def growth(folder: Path) -> Iterator[list[Pair]]:
    """An HKDSR step at x2 by patch and batch, per pixel."""
    sizes = [(16, 48), (16, 24), (16, 96), (4, 48), (64, 48)]
    steps = {size: stepper(STUDENT, HKDSR(), *crops(*size, 2), "bf16") for size in sizes}
    base, *others = sizes
    pairs = [
        Pair(
            f"HKDSR step, x2, bf16, batch {batch}, LR {patch}",
            "as many pixels in steps of batch 16, LR 48",
            steps[batch, patch],
            steps[base],
            work=batch * patch**2 / (base[0] * base[1] ** 2),
        )
        for batch, patch in others
    ]
    yield pairs


@contextmanager
def processes(folder: Path) -> Iterator[list[Pair]]:
    """A plain step in a training by two processes that torchrun starts, and by one."""
    images = folder / "photographs"
    images.mkdir()
    for path in demo_files()[0].values():
        (images / path.name).symlink_to(path)
    one, two = (_launched(folder, images, count) for count in (1, 2))
    yield [Pair(f"plain step in two processes, batch {BATCH}, LR {PATCH}", "in one process", two, one)]


def _steps(settings: Training, folder: Path) -> Steps:
    torch.manual_seed(0)
    return Steps(Distiller(build(STUDENT, SCALE), None, Plain()), Context(folder, settings, {}, "", CPU))


def _loading_step(settings: Training, store: ImageStore, folder: Path, stack: ExitStack) -> Form:
    steps = _steps(settings, folder)
    batches = stack.enter_context(Prefetcher(CropSampler(store, PATCH, BATCH, 0), 0))
    return _several(lambda: steps.take(0, batches))


def _repeated_step(settings: Training, store: ImageStore, folder: Path) -> Form:
    steps, batch = _steps(settings, folder), CropSampler(store, PATCH, BATCH, 0).batch(0)
    return lambda: steps.take(0, iter([batch]))


def _loading_steps_of(rival: BasicSR | Missing) -> list[tuple[str, Form | Missing]]:
    def steps(workers: int) -> Form | Missing:
        if isinstance(rival, Missing):
            return rival
        return _several(stepping(rival.model(), rival.loader(workers=workers)))

    return [("BasicSR's, 0 loader workers", steps(0)), ("BasicSR's, 1 loader worker", steps(1))]


def _several(step: Form) -> Form:
    """Steps in a row, so that a loader in the background cannot get ahead of them by long."""

    def form() -> None:
        for _ in range(LOADED):
            step()

    return form


def _batches(sampler: CropSampler) -> Form:
    steps = iter(range(1 << 30))
    return lambda: sampler.batch(next(steps))


def _drawn(loader: Iterator[object]) -> Form:
    return lambda: next(loader)


def _matrix_product() -> Form:
    one, other = torch.rand(2, MATRIX, MATRIX)
    return lambda: one @ other


def _launched(folder: Path, images: Path, count: int) -> Form:
    """The seconds of a step in a training by ``count`` processes, started by torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m", "hkdsr", "train"]
    data = ["--student", STUDENT, "--data.train", str(images), "--data.cache", str(folder / "cache")]
    steps = ["--training.steps", str(LAUNCHED_STEPS), "--training.log-every", "4", "--training.threads", "1"]

    def train() -> float:
        with TemporaryDirectory(dir=folder) as out:
            command = [sys.executable, *launcher, *data, *steps, "--out", out]
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            first, *_, last = read_log(Path(out))
        return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])

    return train
