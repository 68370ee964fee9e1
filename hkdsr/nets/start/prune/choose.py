"""Which channels a narrower student keeps: those without which the layers that read them lose most.

Where the channels of a group are normalised, the readers also suffer from a wrong length, for which no weight makes up:
a channel then costs its share of the squared length besides. (The teacher's most constant channels, which a bias seems
to replace for free, make most of the length: without this share SMFANet at half its width lost 6 dB.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hkdsr.nets.start.prune.cut import Bases
from hkdsr.nets.start.prune.least_squares import unknowns
from hkdsr.nets.start.prune.sums import Sums
from hkdsr.nets.start.prune.surgeon import Reader, eliminate
from hkdsr.nets.start.prune.wiring import Group, Layer, Wiring, places, side_basis

FEW = 4
"""Positions for each unknown that a layer needs to have a say: a gate of a whole image has few."""


@torch.no_grad()
def choose_channels(student: Wiring, short: Wiring, originals: Mapping[nn.Module, nn.Module], sums: Sums) -> Bases:
    """What the student keeps of every group of channels of ``short``, its teacher cut to the same depth.

    ``originals`` are the modules of the teacher that those of ``short`` are copies of; ``sums`` belongs to them. Groups
    are taken from the last layer to the first, so that a layer answers only for outputs that are kept.
    """
    choice = _Choice(short, originals, sums)
    sizes = {group: own.size for group, own in zip(short.groups, student.groups, strict=True)}
    for group in sorted(short.groups, key=choice.last_use, reverse=True):
        if sizes[group] < group.size:
            choice.cut(group, sizes[group])
    return choice.bases


class _Choice:
    def __init__(self, wires: Wiring, originals: Mapping[nn.Module, nn.Module], sums: Sums) -> None:
        self._wires, self._sums, self._originals = wires, sums, originals
        self._order = {layer: index for index, layer in enumerate(wires.layers)}
        self._readers: dict[Layer, Reader] = {}
        self.bases: Bases = {group: torch.eye(group.size, dtype=torch.float64) for group in wires.groups}

    def last_use(self, group: Group) -> int:
        """The place of the last layer that reads or writes ``group``."""
        layers = [*self._wires.readers(group), *self._wires.writers(group)]
        return max((self._order[layer] for layer in layers), default=0)

    def cut(self, group: Group, keep: int) -> None:
        """Choose ``keep`` channels of ``group``, principal directions where it can be rotated."""
        reading = [layer for layer in self._wires.readers(group) if self._enough(layer)]
        if not reading:
            energy = self._energy(group)
            kept = energy.argsort(descending=True, stable=True)[:keep].sort().values.tolist()
        else:
            if group.rotates:
                self.bases[group] = torch.linalg.eigh(self._covariance(group, reading)).eigenvectors
            readers = [(self._reader(layer), _entries(layer, group)) for layer in reading]
            kept = eliminate(readers, keep, self._length(group, reading))
        self.bases[group] = self.bases[group][:, kept]

    def _enough(self, layer: Layer) -> bool:
        return self._sums.positions.get(self._originals[layer.module], 0) >= FEW * unknowns(layer.module)

    def _reader(self, layer: Layer) -> Reader:
        if layer not in self._readers:
            G = self._sums.G[self._originals[layer.module]]
            gains = torch.cat([self._gain(part.group).repeat_interleave(part.repeat) for part in layer.outputs])
            weights = (_dense(layer) * gains) @ side_basis(layer.outputs, self.bases)
            if any(part.group.rotates for part in layer.inputs):
                inputs = torch.kron(side_basis(layer.inputs, self.bases), torch.eye(_area(layer), dtype=torch.float64))
                mixing = torch.block_diag(inputs, torch.ones(1, 1, dtype=torch.float64))
                G, weights = mixing.T @ G @ mixing, mixing.T @ weights
            self._readers[layer] = Reader(G, weights)
        return self._readers[layer]

    def _gain(self, group: Group) -> Tensor:
        """The norm of the weights that read each channel of ``group``; 1 where none does."""
        squares = torch.zeros(group.size, dtype=torch.float64)
        for layer in self._wires.readers(group):
            of_inputs = layer.module.weight.double().square().transpose(0, 1).flatten(1).sum(1)
            squares += of_inputs[places(layer.inputs, group)].sum(1)
        return squares.sqrt() if squares.any() else torch.ones_like(squares)

    def _covariance(self, group: Group, reading: list[Layer]) -> Tensor:
        """The mean square of the channels of ``group`` (size, size) as its readers see it, each scaled to trace 1."""
        total = torch.zeros(group.size, group.size, dtype=torch.float64)
        for layer in reading:
            G = self._sums.G[self._originals[layer.module]]
            seen = sum((G[entries[:, None], entries] for entries in _entries(layer, group).T), torch.zeros_like(total))
            total += seen / seen.trace()
        return total

    def _length(self, group: Group, reading: list[Layer]) -> Tensor:
        """The share of each channel in the squared lengths by which ``group`` is normalised."""
        shares = torch.zeros(group.size, dtype=torch.float64)
        if group.normalised:
            basis = self.bases[group]
            shares += (basis * (self._covariance(group, reading) @ basis)).sum(0)
        # A norm that ends a branch does not see the stream that its output is added to.
        ends = {writer for residual in self._wires.residuals for writer in residual.writers}
        for norm, side in self._wires.norms:
            energy = self._sums.energy.get(self._originals[norm])
            if energy is not None and norm not in ends and any(part.group is group for part in side):
                shares += energy[places(side, group)].sum(1) / energy.sum()
        return shares

    def _energy(self, group: Group) -> Tensor:
        """How strong each channel is that no layer reads: a product with a factor for every occurrence."""
        energy = torch.ones(group.size, dtype=torch.float64)
        for layer in self._wires.writers(group):
            G = self._sums.G[self._originals[layer.module]]
            squares = (_dense(layer) * (G @ _dense(layer))).sum(0)
            energy = energy * (squares / squares.mean())[places(layer.outputs, group)].prod(1)
        return energy


def _area(layer: Layer) -> int:
    return layer.module.weight[0, 0].numel()


def _entries(layer: Layer, group: Group) -> Tensor:
    """The entries of the layer's patches that belong to each channel of ``group``: (group.size, entries)."""
    inputs = places(layer.inputs, group)
    return (inputs[..., None] * _area(layer) + torch.arange(_area(layer))).flatten(1)


def _dense(layer: Layer) -> Tensor:
    """Weights (inputs * k * k + 1, outputs) with the bias last."""
    weight, bias = layer.module.weight.double(), layer.module.bias
    rows = weight.flatten(1).T
    last = torch.zeros_like(rows[:1]) if bias is None else bias.double()[None]
    return torch.cat([rows, last])
