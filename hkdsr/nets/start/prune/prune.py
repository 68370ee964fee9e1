"""Cut a student out of its teacher by what its layers do on real crops, and solve its weights to make up for the cut.

Four steps: which blocks stay (``blocks``), which channels stay (``choose``), a student of both (``cut``), and a least
squares fit of every layer (``refit``). No gradient is taken.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hkdsr.nets.base import Network
from hkdsr.nets.initialise import copy_blocks, initialise
from hkdsr.nets.start.prune.blocks import choose_blocks
from hkdsr.nets.start.prune.choose import Sums, choose_channels
from hkdsr.nets.start.prune.cut import fill
from hkdsr.nets.start.prune.families import wiring
from hkdsr.nets.start.prune.refit import Refit

DEPTHS = ("blocks", "groups", "convs", "layers")
"""Settings that count what is repeated."""


def prune(
    student: Network, teacher: Network, lr: Tensor, hr: Tensor, tick: Callable[[], object] = lambda: None
) -> None:
    """Fill ``student`` in place from ``teacher`` of the same family, at least as wide and deep.

    ``lr`` (B, 3, h, w) and ``hr`` (B, 3, scale*h, scale*w) are training crops in [0, 1].
    """
    student.eval()
    blocks = choose_blocks(teacher, lr, len(student.blocks), tick)
    short = shortened(teacher, student)
    originals = copy_blocks(short, teacher, blocks)
    own, others = wiring(student), wiring(short)
    sums = Sums()
    sums.gather(teacher, [originals[layer.module] for layer in others.layers if not layer.depthwise], lr, tick)
    bases = choose_channels(own, others, originals, sums)
    initialise(student, "slice", short)
    with torch.no_grad():
        fill(own, others, bases)
    Refit(student, teacher, (own, others), originals, blocks, bases, tick).run(lr, hr)


def shortened(teacher: Network, student: Network) -> Network:
    """A network with fresh weights, as wide as the teacher and as deep as the student."""
    settings = {**teacher.settings, **{name: student.settings[name] for name in DEPTHS if name in student.settings}}
    return type(teacher)(**settings).eval()  # pyright: ignore[reportCallIssue, reportArgumentType]
