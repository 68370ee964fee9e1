"""SPAN, the swift parameter-free attention network (Wan et al., CVPR workshops 2024), and a plain variant of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.layers import DIV2K_MEAN, conv3x3, require_positive
from hkdsr.nets.reparam import product

CHAIN = ("conv.0", "conv.1", "conv.2", "sk")
GAIN = 2
"""How many times wider than its inputs or outputs the layers inside a public file's chain are."""
JOINED = 4
"""How many feature maps the network joins before it makes the image."""


class AttentionBlock(nn.Module):
    """SPAB: three convolutions whose output also gates itself; (B, features, h, w) -> the same shape.

    Without ``attention`` it is a residual block.
    """

    def __init__(self, features: int, attention: bool) -> None:
        super().__init__()
        self.attention = attention
        self.c1_r = conv3x3(features, features)
        self.c2_r = conv3x3(features, features)
        self.c3_r = conv3x3(features, features)

    def forward(self, x: Tensor, first: list[Tensor] | None = None) -> Tensor:
        """``first`` receives the features behind the first convolution, where it is given."""
        opened = F.silu(self.c1_r(x))
        if first is not None:
            first.append(opened)
        refined = self.c3_r(F.silu(self.c2_r(opened)))
        if not self.attention:
            return refined + x
        return (refined + x) * (torch.sigmoid(refined) - 0.5)


class SPAN(Network):
    """SPAN with the published width and depth by default: 48 features, 6 blocks.

    The image is made from the shallow features, the output of the first block, the output of the last one, and what
    lies behind the last block's first convolution; ``reconstruct`` takes the fusion of these (B, features, h, w).

    Args:
        attention: 1, or 0 for the plain variant, whose blocks are residual ones.
        norm: 1 for features of the image minus the DIV2K mean in 0..255 units, as in the published x4 weights; 0 for
            features of the image in [0, 1].

    The convolutions are plain ones here. Public files hold each of them as the chain that it was trained as
    (``hkdsr.nets.reparam``); ``own_state`` multiplies the chain out, and ``public_state`` writes one with this product.

    Raises HkdsrError for a scale other than 2, 3 or 4, a width or depth below 1, or a switch other than 0 and 1.

    Source: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPR workshops 2024.
    """

    family = "span"
    mean: Tensor

    def __init__(self, scale: int, features: int = 48, blocks: int = 6, attention: int = 1, norm: int = 0) -> None:
        super().__init__(scale)
        require_positive({"features": features, "blocks": blocks})
        for name, switch in (("attention", attention), ("norm", norm)):
            if switch not in (0, 1):
                raise HkdsrError(f"{name} is {switch}: set it to 0 or 1")
        self.features, self.attention, self.norm = features, attention, norm
        self.block_names = tuple(f"block_{number}" for number in range(1, blocks + 1))
        self.conv_1 = conv3x3(3, features)
        for name in self.block_names:
            self.add_module(name, AttentionBlock(features, bool(attention)))
        self.conv_cat = nn.Conv2d(JOINED * features, features, 1)
        self.conv_2 = conv3x3(features, features)
        self.upsampler = nn.Sequential(conv3x3(features, 3 * scale**2), nn.PixelShuffle(scale))
        self._initialise()
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).reshape(1, 3, 1, 1), persistent=False)
        # Public files tell by such empty marks what shapes do not.
        for name, switch in (("no_attention", attention), ("no_norm", norm)):
            if not switch:
                self.register_buffer(name, torch.zeros(1))

    def _initialise(self):
        pass

    @property
    def channels(self) -> int:
        return self.features

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return tuple(self.get_submodule(name) for name in self.block_names)

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {
            "scale": self.scale,
            "features": self.features,
            "blocks": len(self.block_names),
            "attention": self.attention,
            "norm": self.norm,
        }

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        forms = (f"block_1.c1_r{layer}.weight" for layer in ("", ".sk", ".eval_conv"))
        if not ({"conv_cat.weight", "upsampler.0.weight"} <= state.keys() and any(name in state for name in forms)):
            return None
        return {
            "scale": isqrt(state["upsampler.0.weight"].shape[0] // 3),
            "features": state["conv_cat.weight"].shape[0],
            "blocks": len({name.split(".")[0] for name in state if name.startswith("block_")}),
            "attention": int("no_attention" not in state),
            "norm": int("no_norm" not in state),
        }

    @classmethod
    def own_state(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = dict(state)
        for start in [name.removesuffix("sk.weight") for name in state if name.endswith(".sk.weight")]:
            layers = [[own.pop(f"{start}{layer}.{kind}") for layer in CHAIN] for kind in ("weight", "bias")]
            own[f"{start}weight"], own[f"{start}bias"] = _single(*layers)
            for kind in ("weight", "bias"):
                own.pop(f"{start}eval_conv.{kind}", None)  # while training it lags behind the chain
        return {name.replace(".eval_conv.", "."): value for name, value in own.items()}

    def public_state(self) -> dict[str, Tensor]:
        state = self.state_dict()
        if not self.attention:
            return state
        for name in [name for name, module in self.named_modules() if _chained(name, module)]:
            weight, bias = state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
            state |= {f"{name}.{part}": value for part, value in _chain(weight, bias).items()}
        return state

    def shallow(self, x: Tensor) -> Tensor:
        return self.conv_1((x - self.mean) * 255.0 if self.norm else x)

    def run_trunk(self, shallow: Tensor, keep: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        blocks = self.blocks
        outputs: dict[int, Tensor] = {}
        first: list[Tensor] = []
        features = shallow
        for index, block in enumerate(blocks):
            features = block(features, first=first) if block is blocks[-1] else block(features)
            if index == 0 or index in keep:
                outputs[index] = features
        joined = self.conv_cat(torch.cat([shallow, self.conv_2(features), outputs[0], *first], dim=1))
        return joined, {index: outputs[index] for index in keep}

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        return self.upsampler(deep)


def _chained(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and name not in ("conv_cat", "upsampler.0")


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
