"""Running a network on a whole image for evaluation: in eval mode, the result rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from hkdsr.data.resize import imresize
from hkdsr.data.tensors import to_tensor, to_uint8
from hkdsr.nets.base import Network
from hkdsr.nets.sanity import name_of, require_image


def super_resolve(network: Network, lr: np.ndarray, *, ensemble: bool = False) -> np.ndarray:
    """Enlarge LR (h, w, 3) uint8 by the network: clamped to [0, 1] and rounded to uint8 (scale*h, scale*w, 3).

    Runs on the network's device in its precision. ``ensemble`` averages over the eight flips and rotations.
    """
    like = example_tensor(network)
    x = to_tensor(lr).to(like)
    with evaluation_mode(network), torch.inference_mode():
        sr = self_ensemble(network, x) if ensemble else network(x)
    require_image(sr, name_of(network))
    return to_uint8(sr)


def upscaled(network: Network | None, lr: np.ndarray, scale: int, *, ensemble: bool = False) -> np.ndarray:
    """The same for a network, or bicubic enlargement by ``scale`` for None."""
    return imresize(lr, scale) if network is None else super_resolve(network, lr, ensemble=ensemble)


def self_ensemble(network: Network, x: Tensor) -> Tensor:
    """Mean of the network's outputs for the eight flips and rotations of (1, 3, h, w), each turned back.

    Timofte et al., "Seven ways to improve example-based single image super resolution", CVPR 2016.
    """
    images = []
    for quarter_turns in range(4):
        for flipped in (False, True):
            changed = torch.rot90(x.flip(-1) if flipped else x, quarter_turns, (-2, -1))
            back = torch.rot90(network(changed), -quarter_turns, (-2, -1))
            images.append(back.flip(-1) if flipped else back)
    return torch.stack(images).mean(0)


def example_tensor(network: Network) -> Tensor:
    """A tensor with the device and the floating-point type of the network's weights."""
    return next(network.parameters(), torch.zeros(()))


@contextmanager
def evaluation_mode(network: Network) -> Iterator[None]:
    """Eval mode inside; afterwards every module is in its former mode.

    The weights are changed to the memory format channels last and stay so: plain convolutions on a CPU then take as
    little as half the time.
    """
    network.to(memory_format=torch.channels_last)
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
