"""How public files of SPAN hold a 3x3 convolution: as the chain that it was trained as, and beside it, fused.

Other tools multiply the chain out themselves when they load the file, and need the fused convolution only to be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hkdsr.nets.reparam import product

CHAIN = ("conv.0", "conv.1", "conv.2", "sk")
GAIN = 2
"""How many times wider than its inputs or outputs the layers inside a public file's chain are."""


def multiplied_out(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A public state dict with ``NAME.weight`` and ``NAME.bias`` in place of every chain, or fused convolution alone.

    Raises LookupError or RuntimeError for a chain whose layers are missing or do not fit together.
    """
    own = dict(state)
    for start in [name.removesuffix("sk.weight") for name in state if name.endswith(".sk.weight")]:
        layers = [[own.pop(f"{start}{layer}.{kind}") for layer in CHAIN] for kind in ("weight", "bias")]
        own[f"{start}weight"], own[f"{start}bias"] = _single(*layers)
        for kind in ("weight", "bias"):
            own.pop(f"{start}eval_conv.{kind}", None)  # while training it lags behind the chain
    return {name.replace(".eval_conv.", "."): value for name, value in own.items()}


def as_chains(state: Mapping[str, Tensor], convolutions: Iterable[str]) -> dict[str, Tensor]:
    """The reverse for the named ``convolutions``; bit by bit."""
    public = dict(state)
    for name in convolutions:
        chain = _chain(public.pop(f"{name}.weight"), public.pop(f"{name}.bias"))
        public |= {f"{name}.{part}": value for part, value in chain.items()}
    return public


def _single(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Kernel and bias of the convolution that equals the layers of ``CHAIN``; computed in float64."""
    first, middle, last, beside = (weight.double() for weight in weights)
    first_bias, middle_bias, last_bias, beside_bias = (bias.double() for bias in biases)
    first, last, beside = (weight[:, :, 0, 0] for weight in (first, last, beside))
    # Public networks pad the features before the chain, not inside it, so that its biases are the same at the border.
    bias = _sum(last @ _sum(middle.sum((2, 3)) @ first_bias, middle_bias), last_bias, beside_bias)
    kind = weights[0].dtype
    return product(first, middle, last, beside).to(kind), bias.to(kind)


def _sum(*biases: Tensor) -> Tensor:
    return torch.stack(biases).sum(0)  # which, unlike +, refuses other shapes


def _chain(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Layers of ``CHAIN`` that equal a convolution, bit by bit; and the convolution itself."""
    outputs, inputs = weight.shape[:2]
    wide = F.pad(weight, (0, 0, 0, 0, 0, (GAIN - 1) * inputs, 0, (GAIN - 1) * outputs))
    return {
        "sk.weight": weight.new_zeros(outputs, inputs, 1, 1),
        "sk.bias": torch.zeros_like(bias),
        "conv.0.weight": torch.eye(GAIN * inputs, inputs).to(weight)[..., None, None],
        "conv.0.bias": weight.new_zeros(GAIN * inputs),
        "conv.1.weight": wide,
        "conv.1.bias": F.pad(bias, (0, (GAIN - 1) * outputs)),
        "conv.2.weight": torch.eye(outputs, GAIN * outputs).to(weight)[..., None, None],
        "conv.2.bias": torch.zeros_like(bias),
        "eval_conv.weight": weight,
        "eval_conv.bias": bias,
    }
