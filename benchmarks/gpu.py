"""What training takes on a GPU, in less than 8 minutes: ``python -m benchmarks.gpu``.

The same kind of table as ``python -m benchmarks`` writes, as ``gpu.md`` and ``gpu.json``. Without a GPU, every row says
that it was not measured.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks import photographs, table
from benchmarks.machine import machine
from benchmarks.photographs import crops
from benchmarks.rounds import Form, Missing, Pair, measured
from benchmarks.rows_losses import by_definition, differentiated, images
from benchmarks.step import stepper
from hkdsr.data.crops import Batch, CropSampler
from hkdsr.data.resident import ResidentSampler
from hkdsr.devices import autocast
from hkdsr.losses import compiled, fsm
from hkdsr.methods import HKDSR, Plain
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, NetworkWithExits
from hkdsr.nets.files.load import build
from hkdsr.scoring import cost
from hkdsr.settings.choices import Compile, Precision
from hkdsr.settings.recipe import Training
from hkdsr.training.context import Context
from hkdsr.training.distiller import Distiller
from hkdsr.training.step import Steps
from hkdsr.training.teacher import Teacher

SCALE = 2
TEXT = """# Speed on a GPU

What the parts of a training take on a GPU beside what they replace, by `python -m benchmarks.gpu`: medians of forms
that run in turn. A ratio is our time as a share of theirs, so less is better."""


@dataclass(frozen=True)
class Sizes:
    """What is trained, and on what: the student, two larger networks, crops, and the side of a matrix product."""

    student: str = "compact:features=32,convs=8"
    larger: tuple[str, ...] = ("edsr:features=64,blocks=16", "rcan:groups=10,blocks=20,features=64")
    batch: int = 16
    patch: int = 48
    matrix: int = 8192
    hr_sides: tuple[int, ...] = (96, 144, 192)


def main(words: Sequence[str] | None = None) -> None:
    """Print the table, and write it. ``words`` replace sys.argv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="a folder")
    arguments = parser.parse_args(words)
    rows, found = [], machine()
    print(*table.HEAD, sep="\n")
    with TemporaryDirectory() as folder:
        for group in groups(Sizes(), torch.device("cuda"), Path(folder)):
            for row in measured(group if torch.cuda.is_available() else list(map(_missing, group))):
                print(table.line(row), flush=True)
                rows.append(row)
    table.write(arguments.out, "gpu", TEXT, found, rows)


def groups(sizes: Sizes, device: torch.device, folder: Path) -> Iterator[list[Pair]]:
    """The pairs, by groups that take turns; nothing is on ``device`` before a form is called."""
    works = Works(sizes, device, folder)
    name = sizes.student.partition(":")[0]
    plain = {key: works.step(sizes.student, Plain(), *how) for key, how in _WAYS.items()}
    first, *others = plain
    yield [Pair(f"plain step of {name}, {key}", first, plain[key], plain[first]) for key in others]
    for large in sizes.larger:
        network, product = large.partition(":")[0], works.product()
        steps = {key: works.step(large, Plain(), "bf16", choice) for key, choice in _CHOICES.items()}
        against, work = "as many multiply-adds in bf16 matrix products", works.work(large)
        yield [Pair(f"plain step of {network}, bf16{k}", against, steps[k], product, 1 / 0.4, work=work) for k in steps]
        teachers = works.teacher(large, "yes"), works.teacher(large, "no")
        yield [Pair(f"{network} as a live teacher, bf16, compiled", "not compiled", *teachers)]
        yield [
            Pair(f"{network} forward and backward, channels last", "contiguous", *works.layouts(large)),
            Pair(f"fused Adam for {network}", "foreach Adam", *works.optimisers(large)),
        ]
    whole, only = (works.distillation(method) for method in (HKDSR(), Plain()))
    yield [Pair(f"HKDSR step of {name}, bf16", "plain step without exits", whole, only, 1.3)]
    yield [
        Pair("a batch sent as pinned bytes", "as floats", works.sent(as_bytes=True), works.sent(as_bytes=False)),
        Pair("a batch cut on the GPU", "on the CPU, and sent", works.cut(resident=True), works.cut(resident=False)),
    ]
    for side in sizes.hr_sides:
        by_kernel, in_tensors, whole_matrices = works.fsm_forms(side)
        yield [
            Pair(f"FSM, HR {side}, by Triton", "whole matrices", by_kernel, whole_matrices, 1 / 20),
            Pair(f"FSM, HR {side}, by Triton", "in tensor operations", by_kernel, in_tensors),
        ]


_WAYS: dict[str, tuple[Precision, Compile]] = {
    "fp32": ("fp32", "no"),
    "bf16": ("bf16", "no"),
    "bf16, compiled": ("bf16", "yes"),
    "bf16, CUDA graphs": ("bf16", "graphs"),
}
_CHOICES: dict[str, Compile] = {"": "no", ", compiled": "yes"}


class Works:
    """The forms, each made when it is first called, and each waiting for the GPU."""

    def __init__(self, sizes: Sizes, device: torch.device, folder: Path) -> None:
        self._sizes, self._device, self._folder = sizes, device, folder

    def step(self, student: str, method: Plain, precision: Precision, choice: Compile) -> Form:
        """A step of the training loop."""

        def make() -> Form:
            settings = Training(batch=self._sizes.batch, precision=precision, compile=choice)
            context = Context(self._folder, settings, {}, "", self._device)
            steps, batch = Steps(Distiller(self._network(student), None, method), context), self._batch()
            return lambda: steps.take(0, iter([batch]))

        return self._form(make)

    def teacher(self, network: str, choice: Compile) -> Form:
        """The teacher's images of a batch."""

        def make() -> Form:
            frozen = self._network(network).requires_grad_(False).to(memory_format=torch.channels_last)
            together = NetworkWithExits(frozen, Exits(frozen, (0.5,)).to(self._device)).eval()
            teacher, batch = Teacher(together), self._batch().on(self._device)
            teacher.compile_networks(choice, self._device)

            def form() -> None:
                with autocast("bf16", self._device):
                    teacher.outputs(batch)

            return form

        return self._form(make)

    def layouts(self, network: str) -> tuple[Form, Form]:
        """Forward and backward in bf16, with weights and images channels last, and contiguous."""

        def form_of(layout: torch.memory_format) -> Form:
            def make() -> Form:
                module = self._network(network).to(memory_format=layout)
                lr = self._batch().on(self._device).lr.contiguous(memory_format=layout)

                def form() -> None:
                    with autocast("bf16", self._device):
                        module(lr).mean().backward()

                return form

            return self._form(make)

        return form_of(torch.channels_last), form_of(torch.contiguous_format)

    def optimisers(self, network: str) -> tuple[Form, Form]:
        """An update of the weights by fused and by foreach Adam."""

        def form_of(fused: bool) -> Form:
            def make() -> Form:
                parameters = list(self._network(network).parameters())
                for parameter in parameters:
                    parameter.grad = torch.ones_like(parameter)
                return torch.optim.Adam(parameters, 1e-4, fused=fused, foreach=not fused).step

            return self._form(make)

        return form_of(True), form_of(False)

    def distillation(self, method: HKDSR | Plain) -> Form:
        """A step with the teacher's images in memory."""

        def make() -> Form:
            lr, hr = (image.to(self._device) for image in self._crops())
            return stepper(self._sizes.student, method, lr, hr, "bf16")

        return self._form(make)

    def sent(self, as_bytes: bool) -> Form:
        """A batch on its way to the GPU, in float32 there."""

        def make() -> Form:
            batch = self._batch()
            if as_bytes and self._device.type == "cuda":
                batch = batch.pinned()
            given = batch if as_bytes else batch.on(torch.device("cpu"))
            return lambda: given.on(self._device)

        return self._form(make)

    def cut(self, resident: bool) -> Form:
        """A batch out of whole images, in float32 on the GPU."""

        def make() -> Form:
            sampler = CropSampler(photographs.store(self._folder, SCALE), self._sizes.patch, self._sizes.batch, 0)
            source, steps = ResidentSampler(sampler, self._device) if resident else sampler, iter(range(1 << 30))
            return lambda: source.in_bytes(next(steps)).on(self._device)

        return self._form(make)

    def fsm_forms(self, side: int) -> tuple[Form, Form, Form]:
        """FSM forward and backward, as it is taken on this device, without kernels, and by whole matrices."""

        def made(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Form:
            def make() -> Form:
                s, t, g = (image.detach().to(self._device) for image in images(1, side))
                s.requires_grad_()
                return differentiated(lambda: loss(s, t, g), s)

            return self._form(make)

        def in_tensors(s: Tensor, t: Tensor, g: Tensor) -> Tensor:
            with compiled.only_tensors():
                return fsm(s, t, g)

        return made(fsm), made(in_tensors), made(by_definition)

    def product(self) -> Form:
        """A product of matrices in bf16."""
        side = self._sizes.matrix

        def make() -> Form:
            one, other = torch.rand(2, side, side, device=self._device, dtype=torch.bfloat16)
            return lambda: one @ other

        return self._form(make)

    def work(self, network: str) -> float:
        """How many of these products have as many multiply-adds as a step: forward, and twice as many backward."""
        side = SCALE * self._sizes.patch
        return 3 * self._sizes.batch * cost(build(network, SCALE), (side, side)).macs / self._sizes.matrix**3

    def _form(self, make: Callable[[], Form]) -> Form:
        made: list[Form] = []

        def form() -> None:
            if not made:
                made.append(make())
            made[0]()
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)

        return form

    def _network(self, description: str) -> Network:
        torch.manual_seed(0)
        return build(description, SCALE).to(self._device)

    def _crops(self) -> tuple[Tensor, Tensor]:
        return crops(self._sizes.batch, self._sizes.patch, SCALE)

    def _batch(self) -> Batch:
        lr, hr = ((255 * image).round().byte() for image in self._crops())
        return Batch(lr, hr, [])


def _missing(pair: Pair) -> Pair:
    return dataclasses.replace(pair, ours=Missing("there is no GPU"))


if __name__ == "__main__":
    main()
