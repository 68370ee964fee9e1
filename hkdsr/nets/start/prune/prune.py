"""Cut a student out of its teacher by what its layers do on real crops, and solve its weights to make up for the cut.

Four steps: which blocks stay (``blocks``), which channels stay (``choose``), a student of both (``cut``), and a least
squares fit of every layer (``refit``). No gradient is taken.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.start.initialise import copy_blocks, initialise, require_alike
from hkdsr.nets.start.layout import kept, layouts
from hkdsr.nets.start.prune.blocks import choose_blocks
from hkdsr.nets.start.prune.choose import choose_channels
from hkdsr.nets.start.prune.cut import fill
from hkdsr.nets.start.prune.families import GATES, wiring
from hkdsr.nets.start.prune.refit import Refit
from hkdsr.nets.start.prune.sums import Sums

VERSION = 1
"""Raise it whenever the same crops would give other weights."""
DEPTHS = ("blocks", "groups", "convs", "layers")
"""Settings that count what is repeated."""


@torch.no_grad()
def prune(
    student: Network, teacher: Network, lr: Tensor, hr: Tensor, tick: Callable[[], object] = lambda: None
) -> None:
    """Fill ``student`` in place from a wider or deeper ``teacher`` of its family; no random number is drawn.

    ``lr`` (B, 3, h, w) and ``hr`` (B, 3, scale*h, scale*w) are training crops in [0, 1]; ``tick`` is called whenever a
    few crops or a layer are done. A student of the teacher's settings gets the teacher's weights. Both networks are on
    the CPU and end in eval mode. Raises HkdsrError as ``check_prunable`` does.
    """
    check_prunable(student, teacher)
    student.eval()
    teacher.eval()
    if student.settings == teacher.settings:
        student.load_state_dict(teacher.state_dict())
        return
    blocks = choose_blocks(teacher, lr, len(student.blocks), tick)
    short = shortened(teacher, student)
    originals = copy_blocks(short, teacher, blocks)
    own, others = wiring(student), wiring(short, student)
    watched = [layer.module for layer in others.layers if not layer.depthwise] + [norm for norm, _ in others.norms]
    sums = Sums()
    sums.gather(teacher, [originals[module] for module in watched], lr, tick)
    joined = layouts(teacher) | layouts(short)
    for layer in others.layers:
        # A layer that joins the outputs of all blocks has only those of the kept ones in the student.
        original = originals[layer.module]
        if isinstance(original, nn.Conv2d) and original.weight.shape != layer.module.weight.shape:
            inputs = kept(joined[original.weight, 1], joined[layer.module.weight, 1], blocks)
            assert inputs is not None
            sums.restrict(original, inputs)
    bases = choose_channels(own, others, originals, sums)
    initialise(student, "slice", short)  # for what the wiring leaves out, tables of positions
    fill(own, others, bases)
    Refit(student, teacher, short, (own, others), originals, blocks, bases, tick).run(lr, hr)


def check_prunable(student: Network, teacher: Network) -> None:
    """Raises HkdsrError if ``student`` cannot be pruned out of ``teacher``."""
    require_alike(student, teacher, "prune")
    for name in DEPTHS:
        if student.settings.get(name, 0) > teacher.settings.get(name, 0):  # pyright: ignore[reportOperatorIssue]
            raise HkdsrError(
                f"init is 'prune' but {name} is {student.settings[name]} in the student and {teacher.settings[name]} "
                "in the teacher: make the student no deeper, or set init to 'scratch'"
            )
    if teacher.settings.get(GATES) == 0 != student.settings[GATES]:
        raise HkdsrError(
            f"init is 'prune' but {GATES} is {student.settings[GATES]} in the student and 0 in the teacher: set it to "
            "0 in student, or init to 'scratch'"
        )
    own, others = wiring(student).groups, wiring(shortened(teacher, student), student).groups
    if len(own) != len(others):
        raise HkdsrError(
            f"init is 'prune' but heads is {student.settings.get('heads')} in the student and "
            f"{teacher.settings.get('heads')} in the teacher: make them equal, or set init to 'slice'"
        )
    for mine, theirs in zip(own, others, strict=True):
        if mine.size > theirs.size:
            raise HkdsrError(
                f"init is 'prune' but a layer of the student has {mine.size} channels and the teacher's {theirs.size}: "
                "make the student no wider, or set init to 'scratch'"
            )


def shortened(teacher: Network, student: Network) -> Network:
    """A network with fresh weights, as wide as the teacher and as deep as the student."""
    settings = {**teacher.settings, **{name: student.settings[name] for name in DEPTHS if name in student.settings}}
    with torch.random.fork_rng(devices=[]):
        return type(teacher)(**settings).eval()  # pyright: ignore[reportCallIssue, reportArgumentType]
