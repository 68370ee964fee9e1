"""The wiring of parts that several families are built from (see ``hkdsr.nets.start.prune.wiring``)."""

from __future__ import annotations

from typing import Any

from torch import nn

from hkdsr.nets.families.bsrn import BlueprintAttention, BlueprintConv
from hkdsr.nets.families.layers import ContrastAttention, SpatialAttention, Upsampler
from hkdsr.nets.start.prune.wiring import Side, Wiring


def correlation(layer: Any, stream: Side, wires: Wiring) -> None:
    heads = layer.heads
    # The queries and values of a head are multiplied channel by channel, and all channels with one another.
    related = wires.new(*[layer.proj.in_features // (2 * heads)] * heads)
    both = related + related
    first, _, second, _, third = layer.qv.conv
    wires.layer(third, wires.layer(second, wires.layer(first, stream)), both)
    wires.layer(layer.qv.linear, stream, both)
    bias = wires.layer(layer.pos.pos_proj, wires.new(2))
    for step in (layer.pos.pos1, layer.pos.pos2, layer.pos.pos3):
        wires.per_channel(step[0], bias)
        bias = wires.layer(step[2], bias)
    wires.layer(layer.proj, both, stream)


def upsampled(tail: nn.Module, x: Side, wires: Wiring) -> None:
    upsampler, last = tail.children()
    assert isinstance(upsampler, Upsampler)
    steps = list(upsampler)
    for convolution, shuffle in zip(steps[::2], steps[1::2], strict=True):
        assert isinstance(shuffle, nn.PixelShuffle)
        x = wires.upsampling(conv(convolution), x, shuffle.upscale_factor)
    wires.layer(last, x)


def convolution(module: nn.Module, x: Side, wires: Wiring, outputs: Side | None = None) -> Side:
    if not isinstance(module, BlueprintConv):
        return wires.layer(module, x, outputs)
    outputs = wires.layer(module.pw, x, outputs)
    return wires.depthwise(module.dw, outputs)


def gate(convolutions: nn.Sequential, x: Side, wires: Wiring) -> None:
    squeeze, _, widen, _ = convolutions
    wires.layer(widen, wires.layer(squeeze, x), x)


def contrast_attention(module: ContrastAttention, x: Side, wires: Wiring) -> None:
    gate(module.conv_du, x, wires)


def spatial_attention(module: SpatialAttention, x: Side, wires: Wiring) -> None:
    narrow = wires.layer(module.conv1, x)
    pooled = convolution(module.conv2, narrow, wires)
    if isinstance(module, BlueprintAttention):
        pooled = convolution(module.conv3, convolution(module.conv_max, pooled, wires), wires)
        pooled = convolution(module.conv3_, pooled, wires)
    else:
        pooled = convolution(module.conv3, pooled, wires)
    wires.layer(module.conv_f, narrow, pooled)
    wires.layer(module.conv4, pooled, x)


def conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module
