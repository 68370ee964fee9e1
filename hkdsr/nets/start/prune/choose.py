"""Which channels a narrower student keeps: those without which the layers that read them lose most.

The optimal brain surgeon (Hassibi and Stork, NIPS 1992) for groups of channels. For a layer with the outputs B^T phi,
the sum G of phi phi^T over its patches and P = G^-1, the least squared error after removing the inputs g, when all other
weights adapt, is tr(B_g^T P_gg^-1 B_g); B and P without g follow by a rank-|g| update.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from hkdsr.nets.base import Network
from hkdsr.nets.start.prune.cut import Bases
from hkdsr.nets.start.prune.least_squares import chunks, gram, patches, thinning, unknowns, output_count
from hkdsr.nets.start.prune.wiring import Group, Layer, Wiring, places, side_basis

RIDGE = 1e-5
FEW = 4
"""Positions for each unknown that a layer needs to have a say: a gate of a whole image has few."""


class Sums:
    """The sum G of [phi; 1] [phi; 1]^T at every layer of the teacher, and how many positions it is over."""

    def __init__(self) -> None:
        self.G: dict[nn.Module, Tensor] = {}
        self.count: dict[nn.Module, int] = {}
        self._chunk = 0

    @torch.no_grad()
    def gather(self, network: Network, layers: list[nn.Module], lr: Tensor, tick: Callable[[], object]) -> None:
        """Run ``network`` on the crops ``lr`` (B, 3, h, w)."""
        hooks = [layer.register_forward_pre_hook(self._add) for layer in layers]
        try:
            for index, part in enumerate(chunks(len(lr))):
                self._chunk, self._crops = index, len(lr)
                network(lr[part])
                tick()
        finally:
            for hook in hooks:
                hook.remove()

    def _add(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        x = given[0]
        step = thinning(module, output_count(module, x) * self._crops // len(x))
        rows = patches(module, x, step, self._chunk % step**2)
        self.G[module] = self.G.get(module, 0.0) + gram(rows)
        self.count[module] = self.count.get(module, 0) + len(rows)


class _Reader:
    """A layer from which inputs are removed one channel after the other."""

    def __init__(self, layer: Layer, G: Tensor, weights: Tensor) -> None:
        """``G``: see ``Sums``. ``weights`` (inputs * k * k + 1, outputs): the bias last, outputs as they count."""
        R = G.clone()
        R.diagonal()[:-1] += RIDGE * G.diagonal()[:-1].mean() + torch.finfo(torch.float64).tiny
        self._P = torch.linalg.inv(R)
        self._B = weights
        self._total = float((weights * (G @ weights)).sum().clamp(min=torch.finfo(torch.float64).tiny))
        self._layer = layer
        self._area = layer.module.weight[0, 0].numel()

    def columns(self, group: Group) -> Tensor:
        """The patch's entries of each channel of ``group``: (group.size, entries)."""
        inputs = places(self._layer.inputs, group)
        return (inputs[..., None] * self._area + torch.arange(self._area)).flatten(1)

    def costs(self, columns: Tensor) -> Tensor:
        """The share of the output's squares that is lost by removing each row of ``columns``."""
        blocks = self._P[columns[:, :, None], columns[:, None, :]]
        B = self._B[columns]
        return (B * torch.linalg.solve(blocks, B)).sum((1, 2)) / self._total

    def remove(self, entries: Tensor) -> None:
        """Remove one row of ``columns`` and let the other weights adapt."""
        toward = torch.linalg.solve(self._P[entries[:, None], entries], self._P[entries])
        self._B = self._B - toward.T @ self._B[entries]
        self._P = self._P - self._P[:, entries] @ toward


@torch.no_grad()
def choose_channels(student: Wiring, short: Wiring, originals: Mapping[nn.Module, nn.Module], sums: Sums) -> Bases:
    """What the student keeps of every group of channels of ``short``, its teacher cut to the same depth.

    ``originals`` are the layers of the teacher that those of ``short`` are copies of; ``sums`` belongs to them. Groups
    are taken from the last layer to the first, so that a layer answers only for outputs that are kept.
    """
    bases = {group: torch.eye(group.size, dtype=torch.float64) for group in short.groups}
    sizes = {group: own.size for group, own in zip(short.groups, student.groups, strict=True)}
    readers: dict[Layer, _Reader] = {}
    for group in sorted(short.groups, key=lambda group: _last_read(short, group), reverse=True):
        if sizes[group] == group.size:
            continue
        reading = []
        for layer in short.readers(group):
            original = originals[layer.module]
            if sums.count.get(original, 0) < FEW * unknowns(layer.module):
                continue
            if layer not in readers:
                readers[layer] = _Reader(layer, sums.G[original], _weights(short, layer, bases))
            reading.append(readers[layer])
        kept = _eliminate(group, sizes[group], reading) if reading else _strongest(short, group, sizes[group], originals, sums)
        bases[group] = torch.eye(group.size, dtype=torch.float64)[:, kept]
    return bases


def _eliminate(group: Group, keep: int, readers: list[_Reader]) -> list[int]:
    alive = list(range(group.size))
    columns = [(reader, reader.columns(group)) for reader in readers]
    while len(alive) > keep:
        cost = torch.stack([reader.costs(entries[alive]) for reader, entries in columns]).sum(0)
        channel = alive.pop(int(cost.argmin()))
        for reader, entries in columns:
            reader.remove(entries[channel])
    return alive


def _strongest(
    short: Wiring, group: Group, keep: int, originals: Mapping[nn.Module, nn.Module], sums: Sums
) -> list[int]:
    """The channels of most energy where no layer reads them: a product of as many factors as they have occurrences."""
    energy = torch.ones(group.size, dtype=torch.float64)
    for layer in short.writers(group):
        original = originals[layer.module]
        if original in sums.G:
            weights = _dense(layer)
            squares = (weights * (sums.G[original] @ weights)).sum(0)
            energy = energy * squares[places(layer.outputs, group)].prod(1)
    return energy.argsort(descending=True, stable=True)[:keep].sort().values.tolist()


def _last_read(wires: Wiring, group: Group) -> int:
    order = {layer: index for index, layer in enumerate(wires.layers)}
    return max((order[layer] for layer in [*wires.readers(group), *wires.writers(group)]), default=0)


def _dense(layer: Layer) -> Tensor:
    """Weights (inputs * k * k + 1, outputs) with the bias last."""
    weight, bias = layer.module.weight.double(), layer.module.bias
    rows = weight.flatten(1).T
    last = torch.zeros_like(rows[:1]) if bias is None else bias.double()[None]
    return torch.cat([rows, last])


def _weights(wires: Wiring, layer: Layer, bases: Bases) -> Tensor:
    """The layer's weights for the outputs that are kept, each times the norm of what reads it."""
    gains = torch.cat([_gain(wires, part.group).repeat_interleave(part.repeat) for part in layer.outputs])
    return (_dense(layer) * gains) @ side_basis(layer.outputs, bases)


def _gain(wires: Wiring, group: Group) -> Tensor:
    """How strongly the layers that read each channel of ``group`` do so; 1 where none does."""
    squares = torch.zeros(group.size, dtype=torch.float64)
    for layer in wires.readers(group):
        of_inputs = layer.module.weight.double().square().flatten(2).sum((0, 2)) if layer.module.weight.ndim > 2 else (
            layer.module.weight.double().square().sum(0)
        )
        squares += of_inputs[places(layer.inputs, group)].sum(1)
    return squares.sqrt() if squares.any() else torch.ones_like(squares)
