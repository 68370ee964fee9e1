"""What a student starts from: fresh weights, slices of its teacher, some of its teacher's blocks, another student.

A student cut out of its teacher and then trained plainly is nearly as good as one of the CSD method (Wang et al., IJCAI
2021, whose tables have that row), so the start is a choice of its own and takes part in every comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network, parameter_count
from hkdsr.nets.families.layers import SpatialAttention
from hkdsr.nets.files.load import digest, load
from hkdsr.nets.start.layout import Grid, Grids, evenly, kept, layouts
from hkdsr.settings.choices import Init

SOURCES = {"scratch": "its own weights", "slice": "slices of the teacher", "drop": "blocks of the teacher"}
NAMED = 3

Pair = tuple[nn.Module, nn.Module]


@dataclass(frozen=True)
class Start:
    """Where a student's weights came from.

    ``copied`` of ``total`` parameters are ``source``'s; ``fresh`` names the layers with the others. ``sha256`` is that
    of the other student's weights, if there is one.
    """

    source: str
    copied: int
    total: int
    fresh: tuple[str, ...] = ()
    sha256: str | None = None

    def sentence(self) -> str:
        """The same in words."""
        told = f"the student starts from {self.source}: {self.copied:,} of its {self.total:,} weights"
        if not self.fresh:
            return told
        more = f" and {len(self.fresh) - NAMED} more" if len(self.fresh) > NAMED else ""
        return f"{told}, fresh ones in {', '.join(self.fresh[:NAMED])}{more}"


def initialise(
    student: Network, init: Init, teacher: Network | None = None, init_from: str | Path | None = None
) -> Start:
    """Fill ``student`` in place; no random number is drawn.

    - ``scratch`` leaves it as it is.
    - ``slice`` takes the leading channels of ``teacher``'s layers, of each part where a layer joins several (see
      ``hkdsr.nets.start.layout``), and where the student has fewer blocks those at evenly spaced relative depths, the
      last one included; the same within blocks that repeat a layer. Nothing is rescaled.
    - ``drop`` is ``slice`` between equal widths.
    - ``prune`` is refused here, as it needs training crops: see ``hkdsr.nets.start.prune``.
    - ``student`` takes the checkpoint ``init_from`` of the same student at another scale, without the layers whose
      shape or number depends on the scale.

    Raises HkdsrError where teacher and student do not allow it, or ``init_from`` is not such a checkpoint.
    """
    if init == "scratch":
        return Start(SOURCES[init], 0, parameter_count(student))
    if init == "student":
        if init_from is None:
            raise HkdsrError("init is 'student' but there is no init_from: set it to a checkpoint of this student")
        return _from_student(student, init_from)
    if teacher is None:
        raise HkdsrError(f"init is '{init}' but there is no teacher: set init to 'scratch' or 'student'")
    if init == "prune":
        raise HkdsrError("init is 'prune' but there are no training crops: call prune, or set init to 'slice'")
    require_alike(student, teacher, init)
    cut = _Cut(student, teacher, init)
    filled = {parameter for pair in cut.pairs() for parameter in cut.fill(*pair)}
    if unfilled := [name for name, parameter in student.named_parameters() if parameter not in filled]:
        raise _unlike(init, unfilled[0])
    return Start(SOURCES[init], sum(p.numel() for p in filled), parameter_count(student))


def copy_blocks(student: Network, teacher: Network, blocks: Sequence[int]) -> dict[nn.Module, nn.Module]:
    """Fill a ``student`` of the teacher's width with its ``blocks`` and what is around them.

    Returns for each module of the student the teacher's module that it is a copy of. Raises HkdsrError as
    ``initialise`` does.
    """
    cut = _Cut(student, teacher, "drop", blocks)
    pairs = dict(cut.pairs())
    for own, other in pairs.items():
        cut.fill(own, other)
    return pairs


class _Cut:
    """The modules of a student beside those of the teacher that they are cut out of.

    ``blocks`` are those of the teacher's trunk that the student has, by default evenly spaced ones.
    """

    def __init__(self, student: Network, teacher: Network, init: Init, blocks: Sequence[int] | None = None) -> None:
        self._student, self._teacher = student, teacher
        self._blocks = blocks
        self._init: Init = init
        self._names = {module: name for name, module in student.named_modules()}
        self._narrow, self._wide = layouts(student), layouts(teacher)

    def pairs(self) -> Iterator[Pair]:
        # Families name their blocks differently, and the layers behind them by a number that counts the blocks: so
        # blocks are paired as modules, and what is left of their containers by its order.
        own, others = self._student.blocks, self._teacher.blocks
        for block, other in self._picked(list(own), list(others), "trunk", self._blocks):
            yield from self._within(block, other, set())
        trunk = {module for block in chain(own, others) for module in block.modules()}
        yield from self._within(self._student, self._teacher, trunk)

    def _within(self, own: nn.Module, other: nn.Module, passed: set[nn.Module]) -> Iterator[Pair]:
        name = self._names.get(own, "")
        if isinstance(own, nn.Identity) and isinstance(other, SpatialAttention):  # the student does without gates
            return
        if type(own) is not type(other):
            raise _unlike(self._init, name)
        yield own, other
        ours, theirs = ({n: c for n, c in m.named_children() if c not in passed} for m in (own, other))
        if isinstance(own, nn.Sequential | nn.ModuleList):
            runs, other_runs = _runs(ours.values()), _runs(theirs.values())
            if len(runs) != len(other_runs):
                raise _unlike(self._init, name)
            together = [p for run in zip(runs, other_runs, strict=True) for p in self._picked(*run, name)]
        elif ours.keys() == theirs.keys():
            together = [(child, theirs[key]) for key, child in ours.items()]
        else:
            raise _unlike(self._init, name)
        for child, of in together:
            yield from self._within(child, of, passed)

    def _picked(
        self, own: list[nn.Module], others: list[nn.Module], where: str, blocks: Sequence[int] | None = None
    ) -> list[Pair]:
        if len(own) > len(others):
            raise HkdsrError(
                f"init is '{self._init}' but the student's {where} has {len(own)} blocks and the teacher's "
                f"{len(others)}: make the student no deeper, or set init to 'scratch'"
            )
        blocks = evenly(len(own), len(others)) if blocks is None else blocks
        return [(module, others[index]) for module, index in zip(own, blocks, strict=True)]

    @torch.no_grad()
    def fill(self, own: nn.Module, other: nn.Module) -> list[Tensor]:
        """Copy what the modules hold themselves; the parameters that were filled."""
        theirs = dict(other.named_parameters(recurse=False))
        for name, parameter in own.named_parameters(recurse=False):
            if name not in theirs:
                raise _unlike(self._init, self._names.get(own, ""))
            parameter.copy_(self._cut(parameter, theirs[name], f"{self._names.get(own, '')}.{name}".lstrip(".")))
        fixed = dict(other.named_buffers(recurse=False))
        for name, table in own.named_buffers(recurse=False):
            if name in fixed and fixed[name].shape == table.shape:
                table.copy_(fixed[name])
        return list(own.parameters(recurse=False))

    def _cut(self, own: Tensor, other: Tensor, name: str) -> Tensor:
        if own.ndim != other.ndim:
            raise _unlike(self._init, name)
        cut = other
        for axis in range(own.ndim):
            narrow = self._narrow.get((own, axis), (Grid((own.shape[axis],)),))
            wide = self._wide.get((other, axis), (Grid((other.shape[axis],)),))
            indices = kept(wide, narrow, self._blocks)
            if indices is None or (self._init == "drop" and not _same_width(wide, narrow)):
                raise HkdsrError(
                    f"init is '{self._init}' but {name} is {tuple(own.shape)} in the student and {tuple(other.shape)} "
                    "in the teacher: "
                    + ("make the student no wider" if indices is None else "set init to 'slice', make the widths equal")
                    + ", or set init to 'scratch'"
                )
            cut = cut.index_select(axis, indices.to(cut.device))
        return cut


def _same_width(wide: Grids, narrow: Grids) -> bool:
    sizes = [[grid.sizes[grid.per_block :] for grid in grids] for grids in (wide, narrow)]
    return sizes[0] == sizes[1]


def _runs(children: Iterable[nn.Module]) -> list[list[nn.Module]]:
    """Layers in a row that are built alike, and of which some may therefore be left out."""

    def built(module: nn.Module) -> object:
        return type(module), [(name, p.shape) for name, p in module.named_parameters()]

    return [list(run) for _, run in groupby(children, built)]


def require_alike(student: Network, teacher: Network, init: Init) -> None:
    """Raises HkdsrError if the networks are not of one family, or differ in more than their numbers of weights."""
    if type(student) is not type(teacher):
        raise HkdsrError(
            f"init is '{init}' but the teacher is of family {teacher.family} and the student of {student.family}: "
            "set init to 'scratch', or student to the teacher's family"
        )
    if not student.runs_in_parts:
        raise HkdsrError(f"init is '{init}' but {student.family} networks run only as a whole: set init to 'scratch'")
    for name, value in student.settings.items():
        other = teacher.settings[name]
        if value != other and (name == "scale" or not _shapes_weights(student, name, other)):
            raise HkdsrError(
                f"init is '{init}' but {name} is {value} in the student and {other} in the teacher, whose weights only "
                f"suit that: set {name} to {other} in student, or init to 'scratch'"
            )


def _shapes_weights(network: Network, name: str, value: float | str) -> bool:
    """Whether a network with another ``value`` of its setting ``name`` has weights of other shapes, or is none."""
    try:
        with torch.device("meta"):
            other = type(network)(**{**network.settings, name: value})  # pyright: ignore[reportCallIssue]
    except HkdsrError:
        return True
    shapes = [{key: weight.shape for key, weight in n.named_parameters()} for n in (network, other)]
    return shapes[0] != shapes[1]


def _unlike(init: Init, name: str) -> HkdsrError:
    return HkdsrError(
        f"init is '{init}' but the student's {name or 'network'} has other layers than the teacher's: set init to "
        "'scratch', or build the student as the teacher"
    )


def _from_student(student: Network, path: str | Path) -> Start:
    other = load(path)
    ours, theirs = ({"family": n.family, **n.settings, "scale": 0} for n in (student, other))
    if differing := [name for name in ours if ours[name] != theirs.get(name)]:
        name = differing[0]
        raise HkdsrError(
            f"init_from is {path}, whose {name} is {theirs.get(name)} and the student's {ours[name]}: give a "
            "checkpoint of the student at another scale"
        )
    copied = set(_copied(student, other))
    fresh = {name.rpartition(".")[0]: None for name, p in student.named_parameters() if p not in copied}
    count = sum(parameter.numel() for parameter in copied)
    return Start(str(path), count, parameter_count(student), tuple(fresh), digest(other.state_dict()))


@torch.no_grad()
def _copied(own: nn.Module, other: nn.Module) -> list[Tensor]:
    """The parameters filled: those of layers whose shapes, and whose sequence's length, are the same at both scales."""
    ours, theirs = (
        dict(chain(m.named_parameters(recurse=False), m.named_buffers(recurse=False))) for m in (own, other)
    )
    children, others = dict(own.named_children()), dict(other.named_children())
    if {name: t.shape for name, t in ours.items()} != {name: t.shape for name, t in theirs.items()}:
        return []
    # An upsampler of two steps shares shapes with one of a single step, but not what they are for.
    if isinstance(own, nn.Sequential) and children.keys() != others.keys():
        return []
    for name, weight in ours.items():
        weight.copy_(theirs[name])
    filled = list(own.parameters(recurse=False))
    common = [(child, others[name]) for name, child in children.items() if name in others]
    return filled + [parameter for pair in common for parameter in _copied(*pair)]
