"""Running a network on an image as evaluation does: whole, in eval mode, rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from hkdsr.data.tensors import to_tensor, to_uint8
from hkdsr.nets.base import Network
from hkdsr.nets.sanity import name_of, require_image


def super_resolve(network: Network, lr: np.ndarray, *, ensemble: bool = False) -> np.ndarray:
    """The network's image of LR (h, w, 3) uint8: clamped to [0, 1] and rounded to uint8 (scale*h, scale*w, 3).

    Runs on the network's device in its precision. ``ensemble`` averages over the eight flips and turns.
    """
    like = reference(network)
    x = to_tensor(lr).to(like)
    with evaluating(network), torch.inference_mode():
        sr = self_ensemble(network, x) if ensemble else network(x)
    require_image(sr, name_of(network))
    return to_uint8(sr)


def self_ensemble(network: Network, x: Tensor) -> Tensor:
    """Mean of what the network makes of the eight flips and turns of (1, 3, h, w), each turned back.

    Timofte et al., "Seven ways to improve example-based single image super resolution", CVPR 2016.
    """
    images = []
    for turns in range(4):
        for flipped in (False, True):
            turned = torch.rot90(x.flip(-1) if flipped else x, turns, (-2, -1))
            back = torch.rot90(network(turned), -turns, (-2, -1))
            images.append(back.flip(-1) if flipped else back)
    return torch.stack(images).mean(0)


def reference(network: Network) -> Tensor:
    """A tensor of the device and floating-point type that the network works in."""
    return next(network.parameters(), torch.zeros(()))


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """Eval mode inside; afterwards every module is in the mode it was in.

    Weights are laid out channels last, and stay so: a CPU then needs down to half the time for plain convolutions.
    """
    network.to(memory_format=torch.channels_last)
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
