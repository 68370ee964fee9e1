"""Graphs that are a network of the family ``compact``, which then is all that the family is: trainable, and pruned."""

from __future__ import annotations

import torch
from torch import nn

from hkdsr.nets.base import SCALES
from hkdsr.nets.families.compact import Compact
from hkdsr.nets.files.ncnn.convolutions import Convolution
from hkdsr.nets.probing import example_image

SAME = 1e-4
"""How far the images of a graph and of the same network may be apart, by roundings."""


@torch.no_grad()
def as_compact(graph: nn.Module) -> Compact | None:
    """The network of the family with the weights of ``graph``, if it gives the same image; else None."""
    parts = [part for part in graph.modules() if isinstance(part, Convolution | nn.PReLU)]
    state = {
        f"body.{index}.{key}": value for index, part in enumerate(parts) for key, value in part.state_dict().items()
    }
    try:
        arguments = Compact.recognise(state)
        if arguments is None or arguments["scale"] not in SCALES:
            return None
        with torch.random.fork_rng(devices=()):  # its first weights are drawn, and replaced
            network = Compact(**arguments)  # pyright: ignore[reportArgumentType]
        network.load_state_dict(state)
    except (LookupError, RuntimeError):  # of other shapes
        return None
    x = example_image(20, 24)
    ours, theirs = network(x), graph(x)
    return network.eval() if ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=SAME) else None
