"""Compiled networks train as plain ones do, up to rounding, and continue exactly; batches travel as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from torch._dynamo.exc import TorchDynamoException

from hkdsr.data.crops import Batch, CropSampler, Prefetcher
from hkdsr.errors import HkdsrError
from hkdsr.methods import FAKD, HKDSR, Method
from hkdsr.settings.recipe import Training
from hkdsr.training import step as step_module
from hkdsr.training.run import distill

FP32 = {"precision": "fp32", "log_every": 1}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("method", [HKDSR(exits_every=2), FAKD()], ids=["exits", "features of a live teacher"])
def test_the_losses_are_those_of_plain_networks(tmp_path: Path, method: Method) -> None:
    recipe = tiny.exits(tiny.recipe(tmp_path, method, steps=4, **FP32), teacher_images="live")
    logs = []
    for choice in ("no", "graphs"):
        training = tiny.recipe(tmp_path, method, steps=4, compile=choice, **FP32).training
        distill(tiny.replaced(recipe, training=training, out=tmp_path / choice))
        logs.append([losses for _, _, losses, _ in tiny.losses(tmp_path / choice)])
    plain, compiled = logs
    assert len(plain) == 4
    for ours, theirs in zip(compiled, plain, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_compiled_run_continues_exactly(tmp_path: Path) -> None:
    whole, killed = (
        tiny.replaced(tiny.recipe(tmp_path, steps=6, compile="yes", **FP32), out=tmp_path / name)
        for name in ("whole", "killed")
    )
    distill(whole)
    with pytest.raises(tiny.Killed):
        distill(killed, observer=tiny.KilledAt(5))
    distill(killed)
    assert tiny.equal(tiny.state(whole.out)["model"], tiny.state(killed.out)["model"])


def test_the_networks_that_run_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> object:
        def run(*arguments: object) -> object:
            raise TorchDynamoException("no compiler\nmore")

        return run

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(HkdsrError, match=r"^training.compile is 'yes', but .* \(no compiler\): set it to 'no'$"):
        distill(tiny.recipe(tmp_path, steps=1, compile="yes"))
    distill(tiny.recipe(tmp_path, steps=1))


def test_graphs_take_batches_whole() -> None:
    with pytest.raises(HkdsrError, match=r"set training\.accumulate to 1$"):
        Training(compile="graphs", accumulate=2)


def test_batches_travel_as_bytes_and_are_pinned_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = CropSampler(tiny.store(tmp_path), 10, 4, seed=3)
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda image: pinned.append(image) or image)
    with Prefetcher(sampler, 0, pin=True) as batches:
        batch = next(batches)
    assert {image.dtype for image in (batch.lr, batch.hr)} == {torch.uint8}
    assert any(image is batch.lr for image in pinned)
    there = batch.on(torch.device("cpu"))
    assert torch.equal(there.lr, sampler.batch(0).lr)
    assert torch.equal((255 * there.hr).round().byte(), batch.hr)
    assert torch.equal(there.on(torch.device("cpu")).hr, there.hr)


def test_a_step_takes_bytes_and_floats_alike(tmp_path: Path) -> None:
    sampler = CropSampler(tiny.store(tmp_path), 10, 5, seed=3)
    batch, states = sampler.in_bytes(0), []
    for given in (batch, batch.on(torch.device("cpu"))):
        torch.manual_seed(0)
        toy = tiny.Toy()
        taken = _taken(toy, given, tmp_path)
        states.append((toy.state_dict(), taken))
    assert tiny.equal(*states)


def _taken(toy: tiny.Toy, batch: Batch, folder: Path) -> dict[str, torch.Tensor]:
    context = step_module.Context(folder, tiny.settings(accumulate=2), {}, "", torch.device("cpu"))
    return step_module.Steps(toy, context).take(0, iter([batch]))
