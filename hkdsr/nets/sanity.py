"""Whether what a network gives is an image: finite, and near the range [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network

FARTHEST = 64.0
"""Networks overshoot [0, 1] a little; one that works in 0..255 exceeds this on all but black images."""
PROBE = (24, 20)
"""Height and width of the probe in LR pixels."""


def require_image(sr: Tensor, name: str) -> None:
    """Raises HkdsrError, naming the network by ``name``, if ``sr`` is not an image with values near [0, 1]."""
    largest = float(sr.detach().abs().max()) if sr.numel() else 0.0
    if largest <= FARTHEST:
        return
    if not largest < float("inf"):
        remedy = "check its weights, and its code if that is yours"
        if sr.dtype != torch.float32:
            remedy = f"use fp32, as they may overflow in {str(sr.dtype).removeprefix('torch.')}, or another file"
        raise HkdsrError(f"{name} gives values that are not finite (NaN or infinite): {remedy}")
    raise HkdsrError(
        f"{name} gives values up to {largest:.4g}, far out of the range [0, 1]: give a network that works in [0, 1], "
        "not in 0..255"
    )


@torch.inference_mode()
def require_sane(network: Network, name: str) -> Network:
    """``network``, once it has given an image for a small probe. Raises HkdsrError, naming ``name``, if it does not."""
    weight = next(network.parameters(), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)
    probe = 0.25 + 0.5 * torch.rand(1, 3, *PROBE, generator=generator)
    require_image(network(probe.to(weight)), name)
    return network


def name_of(network: Network) -> str:
    """What to call a network in a message: its file where it knows one, else its family."""
    return getattr(network, "name", None) or f"the {network.family} network"
