"""Fill a student with a choice of its teacher's channels."""

from __future__ import annotations

import torch
from torch import Tensor

from hkdsr.nets.start.prune.wiring import Group, Wiring, side_basis

Bases = dict[Group, Tensor]
"""For each group of the teacher's channels what the student keeps: a float64 matrix (channels, kept channels).

Its columns are unit vectors where channels are chosen, orthonormal ones where they are rotated.
"""


@torch.no_grad()
def fill(student: Wiring, teacher: Wiring, bases: Bases) -> None:
    """Overwrite the weights of the student's layers by what ``bases`` keep of those of a teacher of the same depth.

    With square bases the student gives the teacher's images.
    """
    for own, other in zip(student.layers, teacher.layers, strict=True):
        rows = side_basis(other.outputs, bases)
        weight = mixed(other.module.weight.double(), rows, 0)
        if not own.depthwise:
            weight = mixed(weight, side_basis(other.inputs, bases), 1)
        own.module.weight.copy_(weight)
        if own.module.bias is not None and other.module.bias is not None:
            own.module.bias.copy_(rows.T @ other.module.bias.double())
    for (value, axis, _), (of, _, side) in zip(student.each, teacher.each, strict=True):
        value.copy_(mixed(of.double(), side_basis(side, bases), axis))


def mixed(x: Tensor, basis: Tensor, axis: int) -> Tensor:
    """The kept channels (or mixtures) of ``x`` along ``axis`` by the matrix ``basis`` (channels, kept)."""
    return (x.movedim(axis, -1) @ basis.to(x.dtype)).movedim(-1, axis).contiguous()
