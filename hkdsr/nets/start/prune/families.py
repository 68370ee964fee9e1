"""The wiring of every family, written like its forward pass (see ``hkdsr.nets.start.prune.wiring``).

A family is left out of the pruned start only by being left out of ``WIRINGS``. A test permutes the channels of every
group of every family and expects the same images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.bsrn import BSRN
from hkdsr.nets.families.compact import Compact
from hkdsr.nets.families.edsr import EDSR
from hkdsr.nets.families.hitsrf import HierarchicalLayer, HiTSRF
from hkdsr.nets.families.hpinet import HPINet
from hkdsr.nets.families.hpinet_attention import TransformerLayer
from hkdsr.nets.families.imdn import IMDN
from hkdsr.nets.families.msrresnet import MSRResNet
from hkdsr.nets.families.rcan import RCAN
from hkdsr.nets.families.rlfn import RLFN
from hkdsr.nets.families.smfanet import FeatureModulationBlock, SMFANet
from hkdsr.nets.families.span import SPAN
from hkdsr.nets.families.swinir import SwinIR, SwinLayer
from hkdsr.nets.start.prune.parts import (
    contrast_attention,
    conv,
    convolution,
    correlation,
    gate,
    spatial_attention,
    upsampled,
)
from hkdsr.nets.start.prune.wiring import Side, Wiring

COLOURS = 3
GATES = "esa_channels"
"""The setting that leaves the gates out where it is 0."""


def wiring(network: Network, like: Network | None = None) -> Wiring:
    """Which layers of ``network`` share channels, without the gates that ``like``, a student of its family, lacks.

    Raises HkdsrError for a family whose wiring is not known.
    """
    if type(network) not in WIRINGS:
        raise HkdsrError(f"init is 'prune' but family {network.family} cannot be pruned: set init to 'slice'")
    wires = Wiring(gated=(like or network).settings.get(GATES) != 0)
    WIRINGS[type(network)](network, wires)
    return wires


def _compact(network: Compact, wires: Wiring) -> None:
    x = wires.new(COLOURS)
    *inner, last = network.body
    for layer in inner:
        if isinstance(layer, nn.PReLU):
            wires.per_channel(layer, x)
        else:
            x = wires.layer(layer, x)
    wires.layer(last, x)


def _edsr(network: EDSR, wires: Wiring) -> None:
    stream = wires.layer(network.head[0], wires.new(COLOURS), wires.new(network.features, rotates=True))
    block: Any
    for block in network.blocks:
        first, _, second = block.body
        wires.layer(second, wires.layer(first, stream), stream)
        wires.residual(block, second)
    wires.layer(network.body[-1], stream, stream)
    upsampled(network.tail, stream, wires)


def _msrresnet(network: MSRResNet, wires: Wiring) -> None:
    stream = x = wires.layer(network.conv_first, wires.new(COLOURS))
    block: Any
    for block in network.blocks:
        wires.layer(block.conv2, wires.layer(block.conv1, stream), stream)
        wires.residual(block, block.conv2)
    for name, factor in network.upconvs.items():
        x = wires.upsampling(conv(network.get_submodule(name)), x, factor)
    wires.layer(network.conv_last, wires.layer(network.conv_hr, x))


def _rcan(network: RCAN, wires: Wiring) -> None:
    stream = wires.layer(network.head[0], wires.new(COLOURS))
    group: Any
    for group in network.blocks:
        *blocks, last = group.body
        for block in blocks:
            first, _, second, attention = block.body
            wires.layer(second, wires.layer(first, stream), stream)
            gate(attention.conv_du, stream, wires)
        wires.layer(last, stream, stream)
        wires.residual(group, last)
    wires.layer(network.body[-1], stream, stream)
    upsampled(network.tail, stream, wires)


def _rlfn(network: RLFN, wires: Wiring) -> None:
    shallow = x = wires.layer(network.conv_1, wires.new(COLOURS))
    block: Any
    for block in network.blocks:
        wires.layer(block.c3_r, wires.layer(block.c2_r, wires.layer(block.c1_r, x)), x)
        x = wires.layer(block.c5, x)
        if wires.gated:
            spatial_attention(block.esa, x, wires)
        else:
            wires.results[block.c5] = block.esa
    wires.layer(network.conv_2, x, shallow)
    wires.layer(network.upsampler[0], shallow)


def _imdn(network: IMDN, wires: Wiring) -> None:
    stream = wires.layer(network.fea_conv, wires.new(COLOURS), wires.new(network.features, rotates=True))
    block: Any
    for block in network.blocks:
        distilled: Side = ()
        rest = stream
        for step in (block.c1, block.c2, block.c3):
            kept, *others = wires.layer(step, rest, wires.new(*block.split))
            distilled, rest = (*distilled, kept), tuple(others)
        distilled += wires.layer(block.c4, rest)
        contrast_attention(block.cca, distilled, wires)
        wires.layer(block.c5, distilled, stream)
        wires.residual(block, block.c5)
    fused = wires.layer(network.c[0], stream * len(network.blocks))
    wires.layer(network.LR_conv, fused, stream)
    wires.layer(network.upsampler[0], stream)


def _bsrn(network: BSRN, wires: Wiring) -> None:
    stream = convolution(network.fea_conv, wires.new(network.fea_conv.pw.in_channels), wires)
    block: Any
    for block in network.blocks:
        refined = stream
        distilled: Side = ()
        for distil, refine in ((block.c1_d, block.c1_r), (block.c2_d, block.c2_r), (block.c3_d, block.c3_r)):
            distilled += wires.layer(distil, refined)
            convolution(refine, refined, wires, refined)
        distilled += convolution(block.c4, refined, wires)
        wires.layer(block.c5, distilled, stream)
        spatial_attention(block.esa, stream, wires)
        contrast_attention(block.cca, stream, wires)
    fused = wires.layer(network.c1, stream * len(network.blocks))
    convolution(network.c2, fused, wires, stream)
    wires.layer(network.upsampler.get_submodule("upsampleOneStep.0"), stream)


def _smfanet(network: SMFANet, wires: Wiring) -> None:
    stream = wires.layer(network.to_feat, wires.new(COLOURS), wires.new(network.dim, rotates=True, normalised=True))
    for block in network.feats:
        assert isinstance(block, FeatureModulationBlock)
        smfa, pcfn = block.smfa, block.pcfn
        local, modulated = wires.layer(smfa.linear_0, stream, wires.new(network.dim, network.dim))
        wires.depthwise(smfa.dw_conv, (modulated,))
        wires.each += [(gain, 1, (modulated,)) for gain in (smfa.alpha, smfa.belt)]
        wires.layer(smfa.linear_1, (modulated,), (modulated,))
        depthwise, pointwise = smfa.lde.conv_0
        assert isinstance(depthwise, nn.Conv2d)
        detail = wires.layer(pointwise, wires.depthwise(depthwise, (local,)))
        wires.layer(smfa.lde.conv_1, detail, (modulated,))
        wires.layer(smfa.linear_2, (modulated,), stream)
        seeing, others = wires.layer(
            pcfn.conv_0, stream, wires.new(pcfn.partial, pcfn.conv_0.out_channels - pcfn.partial)
        )
        wires.layer(pcfn.conv_2, (*wires.layer(pcfn.conv_1, (seeing,)), others), stream)
        wires.residual(block, smfa.linear_2, pcfn.conv_2)
    wires.layer(network.to_img[0], stream)


def _span(network: SPAN, wires: Wiring) -> None:
    shallow = early = opened = x = wires.layer(network.conv_1, wires.new(COLOURS))
    block: Any
    for index, block in enumerate(network.blocks):
        opened = wires.layer(block.c1_r, x)
        refined = wires.layer(block.c2_r, opened)
        # What the last convolution gives gates the block's input, channel by channel.
        x = wires.layer(block.c3_r, refined, x if network.attention else None)
        early = x if index == 0 else early
    fused = wires.layer(network.conv_cat, shallow + wires.layer(network.conv_2, x) + early + opened)
    wires.layer(network.upsampler[0], fused)


def _swinir(network: SwinIR, wires: Wiring) -> None:
    shallow = stream = wires.layer(network.conv_first, wires.new(COLOURS))
    wires.per_channel(network.patch_embed, stream)
    group: Any
    for group in network.layers:
        layer: SwinLayer
        for layer in group.residual_group.blocks:
            wires.per_channel(layer.norm1, stream)
            heads, width = layer.attn.heads, layer.attn.proj.in_features // layer.attn.heads
            matched, values = wires.new(*[width] * heads), wires.new(*[width] * heads)
            wires.layer(layer.attn.qkv, stream, matched + matched + values)
            wires.layer(layer.attn.proj, values, stream)
            wires.per_channel(layer.norm2, stream)
            wires.layer(layer.mlp.fc2, wires.layer(layer.mlp.fc1, stream), stream)
            wires.residual(layer, layer.mlp.fc2, start=layer.norm2)
        wires.layer(group.conv, stream, stream)
        wires.residual(group, group.conv)
    wires.per_channel(network.norm, stream)
    wires.layer(network.conv_after_body, stream, shallow)
    if isinstance(network.conv_before_upsample, nn.Sequential):
        features = wires.layer(network.conv_before_upsample[0], shallow)
        upsampled(nn.Sequential(network.upsample, network.conv_last), features, wires)
    else:
        wires.layer(network.upsample[0], shallow)


def _hpinet(network: HPINet, wires: Wiring) -> None:
    stream = wires.layer(network.first_conv, wires.new(COLOURS))
    block: Any
    for block in network.trunk:
        wires.per_channel(block.match.norm, stream)
        layer: TransformerLayer
        for layer in block.transformer.layers:
            attention: Any
            feed_forward: Any
            attention, feed_forward = layer
            wires.per_channel(attention.norm, stream)
            matched = wires.layer(attention.fn.to_q, stream)
            wires.layer(attention.fn.to_k, stream, matched)
            wires.layer(attention.fn.to_v, stream, stream)
            wires.per_channel(feed_forward.norm, stream)
            wires.layer(feed_forward.fn.fc2, wires.layer(feed_forward.fn.fc1, stream), stream)
            wires.residual(feed_forward, feed_forward.fn.fc2)
        wires.layer(block.convolution, stream, stream)
        wires.residual(block, block.convolution)
    x = stream
    for name, factor in network.upconvs.items():
        x = wires.upsampling(conv(network.get_submodule(name)), x, factor)
    wires.layer(network.last_conv, x)


def _hitsrf(network: HiTSRF, wires: Wiring) -> None:
    shallow = stream = wires.layer(network.conv_first, wires.new(COLOURS))
    wires.per_channel(network.patch_embed, stream)
    group: Any
    for group in network.layers:
        layer: HierarchicalLayer
        for layer in group.residual_group.blocks:
            correlation(layer.correlation, stream, wires)
            wires.per_channel(layer.norm1, stream)
            hidden = wires.layer(layer.mlp.fc1, stream)
            wires.depthwise(conv(layer.mlp.dwconv.depthwise_conv[0]), hidden)
            wires.layer(layer.mlp.fc2, hidden, stream)
            wires.per_channel(layer.norm2, stream)
            wires.residual(layer, layer.norm1, layer.norm2)
        wires.layer(group.conv, stream, stream)
        wires.residual(group, group.conv)
    wires.per_channel(network.norm, stream)
    wires.layer(network.conv_after_body, stream, shallow)
    wires.layer(network.upsample[0], shallow)


WIRINGS: dict[type[Network], Callable[[Any, Wiring], None]] = {
    BSRN: _bsrn,
    Compact: _compact,
    EDSR: _edsr,
    HiTSRF: _hitsrf,
    HPINet: _hpinet,
    IMDN: _imdn,
    MSRResNet: _msrresnet,
    RCAN: _rcan,
    RLFN: _rlfn,
    SMFANet: _smfanet,
    SPAN: _span,
    SwinIR: _swinir,
}
