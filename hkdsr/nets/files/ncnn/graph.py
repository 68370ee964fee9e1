"""The graph of an ncnn network as a module of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.files.ncnn.layers import Result, made
from hkdsr.nets.files.ncnn.param import Layer, read_layers
from hkdsr.nets.files.ncnn.repeats import find_row
from hkdsr.nets.files.ncnn.weights import Weights
from hkdsr.user_code import reason_of

OUTPUTS = ("output", "out0")
"""What the output is called where several blobs are left over."""
PROBE = 48
MOST_VALUES = 1 << 16
"""Values of a blob per LR pixel. Features of 1024 channels, enlarged by 4, have 16384."""


@dataclass(frozen=True)
class Step:
    """A module with the blobs, tensors with names, that it takes and gives."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Graph(nn.Module):
    """Modules that run one after the other: from the blobs ``inputs`` to the blobs ``outputs``, one or several."""

    def __init__(self, steps: Sequence[Step], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        last = {blob: index for index, step in enumerate(steps) for blob in (*step.outputs, *step.inputs)}
        self._steps: list[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = []
        for index, step in enumerate(steps):
            key = f"{index}_{step.name}".replace(".", "_")
            self.add_module(key, step.module)
            blobs = dict.fromkeys((*step.inputs, *step.outputs))
            unused = tuple(blob for blob in blobs if last[blob] == index and blob not in self.outputs)
            self._steps.append((key, step.inputs, step.outputs, unused))

    def forward(self, *blobs: Tensor) -> Result:
        found = dict(zip(self.inputs, blobs, strict=True))
        for key, taken, given, unused in self._steps:
            result = self._modules[key](*(found[blob] for blob in taken))  # pyright: ignore[reportOptionalCall]
            found.update(zip(given, result if isinstance(result, tuple) else (result,), strict=True))
            for blob in unused:  # their memory is free again
                del found[blob]
        if len(self.outputs) == 1:
            return found[self.outputs[0]]
        return tuple(found[blob] for blob in self.outputs)


def read_graph(description: bytes, weights: bytes, name: str, beside: str) -> Graph:
    """The network that both files of a pair hold, whose like blocks are modules of their own.

    ``name`` is that of the description, ``beside`` that of the weights. Raises HkdsrError, naming them, for
    what is damaged, of an unknown kind, or not from one image to another.
    """
    layers = _without_splits(read_layers(description, name))
    inputs = [layer.outputs for layer in layers if layer.kind == "Input"]
    if len(inputs) != 1 or len(inputs[0]) != 1:
        raise HkdsrError(f"{name} has {len(inputs)} inputs: give a network that turns one image into another")
    layers = [layer for layer in layers if layer.kind != "Input"]
    source, target = inputs[0][0], _target(layers, name)
    _require_order(layers, source)
    values, steps = Weights(weights, name, beside), []
    for layer in layers:
        steps.append(Step(layer.name, made(layer, values), layer.inputs, layer.outputs))
    values.require_end()
    _require_small(layers, steps, source)
    return Graph(_in_blocks(layers, steps, target), (source,), (target,))


def _without_splits(layers: Sequence[Layer]) -> list[Layer]:
    """ncnn gives a blob another name for each layer that takes it; here it keeps its own."""
    own: dict[str, str] = {}
    kept = []
    for layer in layers:
        taken = tuple(own.get(blob, blob) for blob in layer.inputs)
        if layer.kind == "Split" and len(taken) == 1:
            own.update(dict.fromkeys(layer.outputs, taken[0]))
        else:
            kept.append(Layer(layer.file, layer.kind, layer.name, taken, layer.outputs, layer.settings))
    return kept


def _target(layers: Sequence[Layer], name: str) -> str:
    taken = {blob for layer in layers for blob in layer.inputs}
    ends = [blob for layer in layers for blob in layer.outputs if blob not in taken]
    found = ends if len(ends) == 1 else [blob for blob in OUTPUTS if blob in ends]
    if not found:
        raise HkdsrError(f"{name} has {len(ends)} outputs: give a network that turns one image into another")
    return found[0]


def _require_order(layers: Sequence[Layer], source: str) -> None:
    """Raises HkdsrError if a layer takes a blob that none before it gives, as in a circle, or gives one again."""
    known = {source}
    for layer in layers:
        if missing := [blob for blob in layer.inputs if blob not in known]:
            raise layer.fault(f"takes the blob {missing[0][:60]!r}, which no layer before it gives", "copy it again")
        if not layer.outputs or known & set(layer.outputs) or len(set(layer.outputs)) < len(layer.outputs):
            raise layer.fault("gives no blob, or one that is there already", "copy it again")
        known.update(layer.outputs)


@torch.inference_mode()
def _require_small(layers: Sequence[Layer], steps: Sequence[Step], source: str) -> None:
    """Run the layers without computing anything. Raises HkdsrError for shapes that do not fit, and for huge ones."""
    blobs: dict[str, Tensor] = {source: torch.empty(1, 3, PROBE, PROBE, device="meta")}
    for layer, step in zip(layers, steps, strict=True):
        module = step.module
        weights = {name: torch.empty_like(value, device="meta") for name, value in module.state_dict().items()}
        try:
            given = torch.func.functional_call(module, weights, tuple(blobs[blob] for blob in step.inputs))
            results = given if isinstance(given, tuple) else (given,)
            blobs.update(zip(step.outputs, results, strict=True))
        except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
            reason = reason_of(error)[:200]
            raise layer.fault(f"cannot run on an image of {PROBE}x{PROBE} ({reason})") from error
        if max(blob.numel() for blob in results) > MOST_VALUES * PROBE**2:
            raise layer.fault("gives far more values than any network", "copy it again")


def _in_blocks(layers: Sequence[Layer], steps: Sequence[Step], target: str) -> Sequence[Step]:
    """The steps, those of each of the network's blocks put together, if it has blocks."""
    kinds = [(layer.kind, tuple(sorted(layer.settings.items())), len(layer.inputs)) for layer in layers]
    counts = [sum(value.numel() for value in step.module.state_dict().values()) for step in steps]
    row = find_row(kinds, counts)
    if row is None:
        return steps
    start, length, count = row
    stop = start + count * length
    blocks = [_block(steps, first, first + length, target) for first in range(start, stop, length)]
    found = [block for block in blocks if block]
    return [*steps[:start], *found, *steps[stop:]] if len(found) == count else steps


def _block(steps: Sequence[Step], first: int, stop: int, target: str) -> Step | None:
    """Some steps as one, whose first input and output are those of the first and the last of them."""
    inside = steps[first:stop]
    given = [blob for step in inside for blob in step.outputs]
    later = {blob for step in steps[stop:] for blob in step.inputs} | {target}
    inputs = dict.fromkeys(blob for step in inside for blob in step.inputs if blob not in given)
    main = inside[-1].outputs[0]
    if main not in later or not inputs:
        return None
    outputs = dict.fromkeys((main, *(blob for blob in given if blob in later)))
    return Step("block", Graph(inside, tuple(inputs), tuple(outputs)), tuple(inputs), tuple(outputs))
