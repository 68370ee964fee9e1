"""Running a network on a whole image for evaluation: in eval mode, the result rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hkdsr.data.resize import imresize
from hkdsr.data.tensors import rounded, to_tensor, to_uint8
from hkdsr.deploy.piecewise import Images, enlarged
from hkdsr.memory import CUT, needed_for
from hkdsr.nets.base import Network
from hkdsr.nets.sanity import name_of, require_image


def super_resolve(
    network: Network, lr: np.ndarray, *, ensemble: bool = False, name: str | Path = "the image"
) -> np.ndarray:
    """Enlarge LR (h, w, 3) uint8 by the network: clamped to [0, 1] and rounded to uint8 (scale*h, scale*w, 3).

    Runs on the network's device in its precision, on the whole image or, where that does not fit into memory, in tiles
    that differ from it by roundings. ``ensemble`` averages over the eight flips and rotations.

    Raises HkdsrError, which says the image's ``name``, if tiles do not fit either, or would not give the same image.
    """
    like = example_tensor(network)

    def checked(images: Images) -> Images:
        for image in images:
            require_image(image, name_of(network))
        return images if ensemble else [rounded(image) for image in images]

    def run(x: Tensor) -> Tensor:
        # On the CPU, where those made of tiles are too.
        return enlarged(network, x, str(name), CUT, checked)[0].cpu()

    with needed_for(str(name), CUT), evaluation_mode(network), torch.inference_mode():
        x = to_tensor(lr).to(like)
        return to_uint8(self_ensemble(run, x) if ensemble else run(x))


def upscaled(
    network: Network | None, lr: np.ndarray, scale: int, *, ensemble: bool = False, name: str | Path = "the image"
) -> np.ndarray:
    """The same for a network, or bicubic enlargement by ``scale`` for None."""
    if network is not None:
        return super_resolve(network, lr, ensemble=ensemble, name=name)
    with needed_for(str(name), CUT):
        return imresize(lr, scale)


def self_ensemble(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
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
