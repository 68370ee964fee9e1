"""Which layers of a network share channels: what must be known before a channel can be removed.

A ``Group`` is a set of channels that are kept or removed together, wherever they occur. In ``y = a(x); z = b(y) + x``
the outputs of ``a`` and the inputs of ``b`` are one group; the inputs of ``a``, the outputs of ``b`` and whatever reads
``z`` are another. The wirings of all families are in ``hkdsr.nets.start.prune.families``, written like their forward
passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Weighted = nn.Conv2d | nn.Linear
Solvable = Weighted | nn.LayerNorm


@dataclass(eq=False)
class Group:
    """Channels that are kept or removed together.

    ``rotates``: all that happens to them is linear and the same for every channel (sums, dense layers, a division by
    their length), so that a rotation of the channels can be absorbed by the layers around.

    ``normalised``: their readers see them divided by their length over the channels.
    """

    size: int
    rotates: bool = False
    normalised: bool = False


@dataclass(frozen=True)
class Part:
    """A run of channels on one side of a layer: ``repeat`` consecutive ones for each channel of ``group``."""

    group: Group
    repeat: int = 1


Side = tuple[Part, ...]
"""All channels on one side of a layer, in order."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear map with the channels that it reads and writes; depth-wise if it has several groups."""

    module: Weighted
    inputs: Side
    outputs: Side

    @property
    def depthwise(self) -> bool:
        return isinstance(self.module, nn.Conv2d) and self.module.groups > 1


@dataclass(frozen=True)
class Residual:
    """A stream that layers add to: ``module`` returns its stream plus ``scale`` times the sum of the writers' outputs.

    The stream before the first writer is the input of ``start``, which is ``module`` itself or a module inside it.
    """

    module: nn.Module
    start: nn.Module
    writers: tuple[Solvable, ...]
    scale: float = 1.0


@dataclass
class Wiring:
    """Groups, layers and residuals in the order of the forward pass.

    ``each``: parameters with one value for every channel (of layer norms, PReLU, gains), and the axis of the channels;
    ``norms``: the layer norms among the modules that they belong to.

    ``gated``: gates are wired. Without them, ``results`` holds for a layer that feeds a gate the module whose result a
    layer without one must give.
    """

    gated: bool = True
    groups: list[Group] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    residuals: list[Residual] = field(default_factory=list)
    each: list[tuple[Tensor, int, Side]] = field(default_factory=list)
    norms: list[tuple[nn.LayerNorm, Side]] = field(default_factory=list)
    results: dict[nn.Module, nn.Module] = field(default_factory=dict)

    def new(self, *sizes: int, rotates: bool = False, normalised: bool = False) -> Side:
        """Channels of their own, one group for each of ``sizes``."""
        groups = [Group(size, rotates, normalised) for size in sizes]
        self.groups += groups
        return tuple(Part(group) for group in groups)

    def layer(self, module: nn.Module, inputs: Side, outputs: Side | None = None) -> Side:
        """``module`` reads ``inputs``; its outputs are ``outputs``, by default a new group."""
        assert isinstance(module, nn.Conv2d | nn.Linear)
        outputs = outputs or self.new(module.weight.shape[0])
        self.layers.append(Layer(module, inputs, outputs))
        return outputs

    def depthwise(self, module: nn.Conv2d, side: Side) -> Side:
        """A convolution of each channel by itself, which may make several of one."""
        repeat = module.out_channels // module.in_channels
        return self.layer(module, side, tuple(Part(part.group, part.repeat * repeat) for part in side))

    def upsampling(self, module: nn.Conv2d, inputs: Side, factor: int) -> Side:
        """A convolution before a pixel shuffle, which gathers ``factor`` ** 2 of its outputs to one channel."""
        (part,) = self.new(module.out_channels // factor**2)
        self.layer(module, inputs, (Part(part.group, factor**2),))
        return (part,)

    def per_channel(self, module: nn.Module, side: Side) -> None:
        """All parameters of ``module`` (a layer norm, a PReLU) hold one value for every channel."""
        self.each += [(parameter, 0, side) for parameter in module.parameters()]
        self.norms += [(norm, side) for norm in module.modules() if isinstance(norm, nn.LayerNorm)]

    def residual(self, module: nn.Module, *writers: nn.Module, start: nn.Module | None = None) -> None:
        """See ``Residual``."""
        layers = tuple(writer for writer in writers if isinstance(writer, nn.Conv2d | nn.Linear | nn.LayerNorm))
        self.residuals.append(Residual(module, start or module, layers, getattr(module, "res_scale", 1.0)))

    def readers(self, group: Group) -> list[Layer]:
        """The layers that mix the channels of ``group`` with others."""
        return [layer for layer in self.layers if not layer.depthwise and _holds(layer.inputs, group)]

    def writers(self, group: Group) -> list[Layer]:
        """The layers whose outputs are among the channels of ``group``, depth-wise ones left out."""
        return [layer for layer in self.layers if not layer.depthwise and _holds(layer.outputs, group)]


def _holds(side: Side, group: Group) -> bool:
    return any(part.group is group for part in side)


def places(side: Side, group: Group) -> Tensor:
    """Where the channels of ``group`` lie on ``side``: (group.size, occurrences), one row for each channel."""
    found = [start + torch.arange(count).reshape(group.size, -1) for start, count, g in _runs(side) if g is group]
    return torch.cat(found, dim=1)


def _runs(side: Side) -> Iterator[tuple[int, int, Group]]:
    start = 0
    for part in side:
        count = part.group.size * part.repeat
        yield start, count, part.group
        start += count


def side_basis(side: Side, bases: dict[Group, Tensor]) -> Tensor:
    """The matrix (channels of ``side``, kept channels) that takes the kept ones out of all.

    ``bases`` holds one (group.size, kept) for each group; its columns are unit vectors where channels are chosen.
    """
    blocks = [torch.kron(bases[part.group], torch.eye(part.repeat, dtype=torch.float64)) for part in side]
    return torch.block_diag(*blocks)
