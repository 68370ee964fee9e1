"""Rows about losses, each forward and backward: beside the forms that are written by the definition, and compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.photographs import blurred, crops
from benchmarks.rounds import Form, Pair
from hkdsr.losses import Fusion, compiled, fsm, fsm_sum, gram_distance, haar

BATCH, EXITS = 4, (0.2, 0.2, 0.8)
CHANNELS = 32
TODAY = {96: 1 / 101, 144: 1 / 171, 192: 1 / 352}
"""By the side of HR crops: what FSM took of the time of its definition when the goal, a third of that, was set."""

Loss = Callable[[], Tensor]


@contextmanager
def fsm_beside_definition(folder: Path) -> Iterator[list[Pair]]:
    """FSM of one output, and its matrices of N x N entries, of one sample to fit into memory."""
    pairs = []
    for side, before in TODAY.items():
        s, t, g = images(BATCH, side)
        one = [image[:1].detach() for image in (s, t, g)]
        one[0].requires_grad_()
        ours = differentiated(lambda s=s, t=t, g=g: fsm(s, t, g), s)
        theirs = differentiated(lambda one=one: by_definition(*one), one[0])
        what, against = f"FSM, HR {side}, batch {BATCH}", f"whole matrices, {BATCH} times batch 1"
        pairs.append(Pair(what, against, ours, theirs, before / 3, work=BATCH))
    yield pairs


@contextmanager
def affinity_beside_definition(folder: Path) -> Iterator[list[Pair]]:
    """FAKD's spatial affinity of normalised features, and its matrices of N x N entries."""
    pairs = []
    for side in (48, 72, 96):
        torch.manual_seed(0)
        s, t = torch.nn.functional.normalize(torch.randn(2, BATCH, CHANNELS, side, side), dim=2)
        s.requires_grad_()
        ours = differentiated(lambda s=s, t=t: gram_distance(s, t), s)
        theirs = differentiated(lambda s=s, t=t: _gram_by_definition(s.flatten(2), t.flatten(2)), s)
        what = f"FAKD affinity, LR {side}, batch {BATCH}, {CHANNELS} channels"
        pairs.append(Pair(what, "whole matrices", ours, theirs, 1 / 3))
    yield pairs


@contextmanager
def compiled_beside_tensors(folder: Path) -> Iterator[list[Pair]]:
    """The losses of HKDSR compiled by Numba, and as tensor operations, which GPUs and Pythons without Numba run."""
    s, t, g = images(16, 96)
    gate = Fusion()
    losses: dict[str, Loss] = {
        "FSM of 3 outputs, HR 96, batch 16": lambda: fsm_sum([s] * 3, [t] * 3, g, EXITS),
        "ACF, HR 96, batch 16": lambda: gate(s, t, g),
    }
    yield [
        Pair(name, "in tensor operations", differentiated(loss, s), _in_tensors(loss, s))
        for name, loss in losses.items()
    ]


def images(batch: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """S, T and G (batch, 3, side, side): photographs enlarged from a third and half of the size, and as they are."""
    _, hr = crops(batch, side // 2, 2)
    return blurred(hr, 3).requires_grad_(), blurred(hr, 2), hr


def differentiated(loss: Loss, student: Tensor) -> Form:
    """``loss`` and its gradient by ``student``."""
    return lambda: torch.autograd.grad(loss(), student)


def _in_tensors(loss: Loss, student: Tensor) -> Form:
    form = differentiated(loss, student)

    def run() -> None:
        with compiled.only_tensors():
            form()

    return run


def by_definition(student: Tensor, teacher: Tensor, hr: Tensor) -> Tensor:
    """FSM of one sample, word for word: the matrices of every high band, whose N^2 entries are all kept."""
    bands = ([band.flatten(2) for band in haar(image, 2)[1:]] for image in (student, teacher, hr))
    return torch.stack([(s.mT @ g - t.mT @ g).abs().mean() for s, t, g in zip(*bands, strict=True)]).sum()


def _gram_by_definition(student: Tensor, teacher: Tensor) -> Tensor:
    return (student.mT @ student - teacher.mT @ teacher).abs().mean()
