"""What holds for every method, in short real runs: it trains the student, does not change the teacher, and resumes."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from hkdsr.data.store import ImageStore
from hkdsr.errors import HkdsrError
from hkdsr.methods import METHODS, Method
from hkdsr.nets.exits import Exits
from hkdsr.nets.files.load import build, load
from hkdsr.training.distiller import Distiller, feature_taps, traced_outputs
from hkdsr.training.run import distill

STUDENT, TEACHER = "edsr:features=4,blocks=4", "edsr:features=8,blocks=4"
PAIRS = {
    "deeper": ("edsr:features=4,blocks=3", "edsr:features=4,blocks=7"),
    "wider": (STUDENT, TEACHER),
    "other family": (
        "compact:features=4,convs=3",
        "swinir:features=8,groups=3,blocks=2,heads=2,upsampler=pixelshuffledirect",
    ),
}
SETTINGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "dckd": lambda _: {"history_every": 1},
    "fakd": lambda _: {"channel_weight": 0.1, "affinity_every": 2, "affinity_samples": 9},
    "mtkd": lambda folder: {"teachers": (str(tiny.teacher(folder / "second.safetensors")),)},
}
"""Settings of methods whose defaults do not suit these runs, given the folder that ``teacher.safetensors`` lies in."""
HEADS_ONLY = ("autoencoder",)
"""Terms that train the heads only."""
REFUSED = {("csd", "deeper"), ("csd", "other family")}
"""Pairs of networks that a method is not defined for."""


def made(name: str, folder: Path) -> Method:
    return METHODS[name](**SETTINGS.get(name, lambda _: {})(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    tiny.teacher(folder / "teacher.safetensors", TEACHER)
    return folder


@dataclass
class Ran:
    """A run of four steps: what was there before, after, and when it was resumed after two of them."""

    distiller: Distiller
    before: dict[str, Tensor]
    teachers_before: list[dict[str, Tensor]]
    state: dict[str, Any]
    resumed: dict[str, Any]


class Watcher:
    """Keeps what a run starts from, and its folder as it is after two steps."""

    def __init__(self, out: Path, copied: Path) -> None:
        self.out, self.copied = out, copied

    def begin(self, module: Distiller, stored: ImageStore | None) -> None:
        self.distiller = module
        self.before = copy.deepcopy(module.state_dict())
        self.teachers = [copy.deepcopy(teacher.state_dict()) for teacher in module.teachers]

    def before_step(self, step: int) -> None:
        if step == 2:
            shutil.copytree(self.out, self.copied)


@pytest.fixture(scope="module", params=METHODS)
def ran(request: pytest.FixtureRequest, folder: Path) -> Ran:
    out, copied = folder / request.param, folder / f"{request.param} resumed"
    recipe = tiny.recipe(folder, made(request.param, folder), steps=4, save_every=2)
    recipe = dataclasses.replace(recipe, student=STUDENT, out=out)
    watcher = Watcher(out, copied)
    distill(recipe, observer=watcher)
    distill(dataclasses.replace(recipe, out=copied))
    return Ran(watcher.distiller, watcher.before, watcher.teachers, tiny.state(out), tiny.state(copied))


def test_student_and_heads_are_trained(ran: Ran) -> None:
    trained = [name for name, parameter in ran.distiller.named_parameters() if parameter.requires_grad]
    assert trained
    for name in trained:
        assert not torch.equal(ran.before[name], ran.state["model"][name]), name


def test_no_teacher_changes(ran: Ran) -> None:
    assert len(ran.teachers_before) == len(ran.distiller.teachers)
    for teacher, before in zip(ran.distiller.teachers, ran.teachers_before, strict=True):
        assert tiny.equal(dict(teacher.state_dict()), dict(before))
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())
        assert not teacher.training


def test_teachers_are_no_part_of_the_module(ran: Ran) -> None:
    own = {id(parameter) for parameter in ran.distiller.parameters()}
    assert not any(id(parameter) in own for teacher in ran.distiller.teachers for parameter in teacher.parameters())


def test_a_resumed_run_ends_with_the_same_bits(ran: Ran) -> None:
    assert (ran.state["step"], ran.resumed["step"]) == (4, 4)
    heads = ran.distiller.heads
    names = [f"heads.{name}" for name in heads.state_dict()] if heads is not None else []
    assert set(names) <= ran.state["model"].keys()
    for part in ("model", "average", "optimiser"):
        assert tiny.equal(ran.state[part], ran.resumed[part]), part


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", METHODS)
def test_any_pair_of_networks_has_finite_terms_and_gradients(name: str, pair: str, folder: Path) -> None:
    student, teacher = (build(description, 2) for description in PAIRS[pair])
    teacher.eval().requires_grad_(False)
    method = made(name, folder).resolved(2)
    teachers = (teacher, *(load(path).requires_grad_(False) for path in method.more_teachers))
    own, theirs = (Exits(net, (0.4, 0.7)) if method.uses_exits else None for net in (student, teacher))

    def distiller() -> Distiller:
        return Distiller(student, own, method, teachers if method.uses_teacher else ())

    if (name, pair) in REFUSED:
        with pytest.raises(HkdsrError, match=r"^[^\n]+: [^\n]+$"):
            distiller()
        return
    module = distiller()
    lr, hr = torch.rand(3, 3, 8, 8), torch.rand(3, 3, 16, 16)
    module.before_step(0)
    with torch.no_grad():
        given = traced_outputs(teacher, lr, theirs, feature_taps(teacher, method.feature_depths), method.strides)
    terms = module(lr, hr, given if method.uses_teacher else None)
    assert "pixel" in terms
    for term, value in terms.items():
        assert value.shape == (), term
        assert value.isfinite(), term
        assert value.requires_grad, term
    taught = {term: value for term, value in terms.items() if term not in ("pixel", *HEADS_ONLY)}
    for term, value in taught.items():
        grads = torch.autograd.grad(value, list(student.parameters()), allow_unused=True, retain_graph=True)
        assert any(grad is not None and grad.any() for grad in grads), term
    assert bool(taught) == method.uses_teacher
    torch.stack(list(terms.values())).sum().backward()
    for parameter_name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
