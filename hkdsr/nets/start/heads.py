"""Exit heads that are solved instead of trained: the last convolution of each by least squares on training crops.

Heads that know nothing of their network's features yet pull at the trunk until they have learnt to read them. A student
that starts close to its teacher loses by this what it has, and a teacher's heads need a training of their own. Least
squares give both for one forward pass.
"""

from __future__ import annotations

from contextlib import ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.nets.base import Network
from hkdsr.nets.exits import ExitHead, Exits, enlarge
from hkdsr.nets.start.prune.least_squares import chunks, refit

RIDGE = 1e-4


@torch.no_grad()
def solve_heads(network: Network, exits: Exits, lr: Tensor, hr: Tensor) -> None:
    """Fill the last convolution of every head of ``exits`` in place, so that its image comes nearest to ``hr``.

    ``lr`` (B, 3, h, w) and ``hr`` (B, 3, scale*h, scale*w) are training crops in [0, 1], on the networks' device. What
    is solved is the difference to the bicubically enlarged image, which the head adds. No random number is drawn.
    """
    heads = [head for head in exits.heads if isinstance(head, ExitHead)]
    inputs: dict[nn.Module, list[Tensor]] = {head.last: [] for head in heads}

    def keep(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs[layer].append(given[0])

    with ExitStack() as hooks:
        for layer in inputs:
            hooks.callback(layer.register_forward_pre_hook(keep).remove)
        for part in chunks(len(lr)):
            exits(lr[part], network.trace(lr[part], exits.taps), network.scale)
    missing = hr - enlarge(lr, network.scale)
    for layer, found in inputs.items():
        assert isinstance(layer, nn.Conv2d)
        small = len(layer.weight) != hr.shape[1]
        target = F.pixel_unshuffle(missing, network.scale) if small else missing
        # A network that pads its input has features of the padding too, which no image shows.
        refit(layer, torch.cat(found)[..., : target.shape[-2], : target.shape[-1]], target, RIDGE)
