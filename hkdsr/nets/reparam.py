"""Re-parameterised training: each 3x3 convolution is trained as a chain of convolutions and used as a single one.

The kernel of a convolution becomes the product of a 1x1, a 3x3 and a 1x1 convolution, without an activation between
them, plus a 1x1 convolution beside them. The network computes what it computed before and can compute nothing new, but
the optimiser moves along other directions. The chain is multiplied out before each forward pass, so that a training
step runs one 3x3 convolution on the features, as without it; deployed networks hold the product alone.

Sources: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPR workshops 2024 (this
chain); Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super Resolution", MLSys 2022 (multiplying out
in training).
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hkdsr.nets.base import Network, in_full_precision

AnyNetwork = TypeVar("AnyNetwork", bound=Network)


class ExpandedKernel(nn.Module):
    """A 3x3 kernel as the product of a chain and a 1x1 kernel beside it, in the form of a PyTorch parametrisation."""

    def forward(self, first: Tensor, middle: Tensor, last: Tensor, beside: Tensor) -> Tensor:
        """The kernel, see ``product``; in float32 under autocast too, as it is a weight."""
        return in_full_precision(product, first, middle, last, beside)

    def right_inverse(self, kernel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A chain whose product is ``kernel`` (O, I, 3, 3), so that expanding a network leaves its images as they are.

        The centre lies beside the chain, whose layers are no wider than its ends; SPAN's are twice as wide.
        """
        outputs, inputs = kernel.shape[:2]
        ring = kernel.clone()
        ring[:, :, 1, 1] = 0
        like = {"dtype": kernel.dtype, "device": kernel.device}
        return torch.eye(inputs, **like), ring, torch.eye(outputs, **like), kernel[:, :, 1, 1].clone()


def product(first: Tensor, middle: Tensor, last: Tensor, beside: Tensor) -> Tensor:
    """The kernel (O, I, 3, 3) of one convolution that computes what the chain and the 1x1 convolution sum to.

    Args:
        first: the first 1x1 convolution (K, I).
        middle: the 3x3 convolution (M, K, 3, 3).
        last: the last 1x1 convolution (O, M).
        beside: the 1x1 convolution beside the chain (O, I).
    """
    kernel = torch.einsum("om,mkyx->okyx", last, middle)
    kernel = torch.einsum("okyx,ki->oiyx", kernel, first)
    return kernel + F.pad(beside[:, :, None, None], (1, 1, 1, 1))


def expand(network: Network) -> None:
    """Let every 3x3 convolution of ``network`` be trained as a chain; its images stay the same.

    Depthwise convolutions, and others over groups of channels, stay as they are.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.groups == 1:
            parametrize.register_parametrization(module, "weight", ExpandedKernel())


def fused(network: AnyNetwork) -> AnyNetwork:
    """A contiguous copy of ``network`` with every chain multiplied out; ``network`` itself if it has none."""
    if not any(parametrize.is_parametrized(module) for module in network.modules()):
        return network
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    for module in plain.modules():
        if parametrize.is_parametrized(module):
            weight = _weight(module).contiguous()
            # Not by remove_parametrizations: copies share a class, so that the original would lose its weights.
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module.parametrizations
            module.register_parameter("weight", nn.Parameter(weight))
    return plain


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return module.weight.detach()
