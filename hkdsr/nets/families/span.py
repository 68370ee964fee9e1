"""SPAN, the swift parameter-free attention network (Wan et al., CVPR workshops 2024), and a plain variant of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.layers import DIV2K_MEAN, conv3x3, require_positive
from hkdsr.nets.families.span_files import as_chains, multiplied_out

SLOPE = 0.1
INNER_GAIN = 0.5
LAST_GAIN = 0.03
IMAGE_GAIN = 4.0
"""The image times this in the features of a network at its start: SiLU is nearly linear for much smaller ones."""
JOINED = 4
"""How many feature maps the network joins before it makes the image."""


class AttentionBlock(nn.Module):
    """SPAB: three convolutions whose output also gates itself; (B, features, h, w) -> the same shape.

    Without ``attention`` it is a plain chain: each convolution is followed by a leaky ReLU.
    """

    def __init__(self, features: int, attention: bool) -> None:
        super().__init__()
        self.attention = attention
        self.c1_r = conv3x3(features, features)
        self.c2_r = conv3x3(features, features)
        self.c3_r = conv3x3(features, features)

    def forward(self, x: Tensor, first: list[Tensor] | None = None) -> Tensor:
        """``first`` receives the features behind the first convolution, where it is given."""
        activation = F.silu if self.attention else _leaky
        opened = activation(self.c1_r(x))
        if first is not None:
            first.append(opened)
        refined = self.c3_r(activation(self.c2_r(opened)))
        if not self.attention:
            return activation(refined)
        return (refined + x) * (torch.sigmoid(refined) - 0.5)


class SPAN(Network):
    """SPAN with the published width and depth by default: 48 features, 6 blocks.

    The image is made from the shallow features, the output of the first block, the output of the last one, and what
    lies behind the last block's first convolution; ``reconstruct`` takes the fusion of these (B, features, h, w).

    Args:
        attention: 1, or 0 for a plain variant of our own: its blocks are plain chains, and what the network makes is
            added to the nearest-neighbour upsampled image, as in ``compact``.
        norm: 1 for features of the image minus the DIV2K mean in 0..255 units, as in the published x4 weights; 0 for
            features of the image in [0, 1].

    The convolutions are plain ones here. Public files hold each of them as the chain that it was trained as
    (``hkdsr.nets.reparam``); ``own_state`` multiplies the chain out, and ``public_state`` gives one with this product.

    Raises HkdsrError for a scale other than 2, 3 or 4, a width or depth below 1, or a switch other than 0 and 1.

    Source: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPR workshops 2024.
    """

    family = "span"
    joins_blocks = True
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

    @torch.no_grad()
    def _initialise(self) -> None:
        """Start as the upsampled image plus little, with convolutions that pass their features on.

        From PyTorch's default, training spends its first hundreds of steps on an image at all.
        """
        identity = torch.eye(self.features)
        for conv in (*(conv for block in self.blocks for conv in block.children()), self.conv_2):
            assert isinstance(conv, nn.Conv2d)
            conv.weight.mul_(INNER_GAIN)
            conv.weight[:, :, 1, 1] += identity
            nn.init.zeros_(_bias(conv))
        joined = self.conv_cat.weight.mul_(INNER_GAIN)[:, :, 0, 0]
        last = self.upsampler[0]
        assert isinstance(last, nn.Conv2d)
        last.weight.mul_(LAST_GAIN)
        for conv in (self.conv_cat, last):
            nn.init.zeros_(_bias(conv))
        if not self.attention:
            joined[:, self.features : 2 * self.features] += identity
            return
        # The first channels carry the image past the trunk, whose outputs take the others.
        colours = min(3, self.features)
        joined[:colours] = 0
        shallow, *others = joined.chunk(JOINED, dim=1)
        shallow[:colours] += identity[:colours]
        for part in others:
            part[colours:] += identity[colours:]
        self.conv_1.weight[:colours] = 0
        for colour in range(colours):
            self.conv_1.weight[colour, colour, 1, 1] = 1
            last.weight[self.scale**2 * colour : self.scale**2 * (colour + 1), colour, 1, 1] += 1 / IMAGE_GAIN
        self.conv_1.weight.mul_(IMAGE_GAIN / 255 if self.norm else IMAGE_GAIN)
        nn.init.zeros_(_bias(self.conv_1))
        if self.norm:
            _bias(last).copy_(torch.tensor(DIV2K_MEAN).repeat_interleave(self.scale**2))

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
        return multiplied_out(state)

    def public_state(self) -> dict[str, Tensor]:
        state = self.state_dict()
        if not self.attention:
            return state
        blocks = (f"{block}.{conv}" for block in self.block_names for conv in ("c1_r", "c2_r", "c3_r"))
        return as_chains(state, ("conv_1", *blocks, "conv_2"))

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
        made = self.upsampler(deep)
        return made if self.attention else made + F.interpolate(x, scale_factor=self.scale, mode="nearest")


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
