"""EDSR, RCAN, SwinIR and Compact: published sizes and names, and what every network promises."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from hkdsr.data import imresize
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network, pad_to_multiple, parameter_count
from hkdsr.nets.families.compact import Compact
from hkdsr.nets.families.edsr import EDSR
from hkdsr.nets.families.rcan import RCAN
from hkdsr.nets.families.swinir import SwinIR

FAMILIES: tuple[type[Network], ...] = (EDSR, RCAN, SwinIR, Compact)
SWINIR_LIGHT = {"features": 60, "groups": 4, "blocks": 6, "heads": 6}

scales = st.sampled_from((2, 3, 4))
some = st.integers(1, 4)
networks = st.one_of(
    st.builds(EDSR, scales, st.sampled_from((4, 8)), some),
    st.builds(RCAN, scales, some, some, st.sampled_from((8, 16)), st.sampled_from((1, 2, 8))),
    st.builds(
        SwinIR,
        scales,
        st.sampled_from((12, 24)),
        some,
        some,
        st.sampled_from((1, 2, 3)),
        st.sampled_from((1.0, 1.5, 2.0)),
        st.sampled_from(("pixelshuffle", "pixelshuffledirect")),
    ),
    st.builds(Compact, scales, st.sampled_from((4, 8)), some),
)


def build(family: Callable[..., Network], arguments: Mapping[str, int | float | str]) -> Network:
    return family(**arguments)


def small(family: type[Network], scale: int = 2) -> Network:
    """A network of the family that runs at once."""
    sizes = {
        EDSR: {"features": 8, "blocks": 3},
        RCAN: {"features": 16, "groups": 3, "blocks": 2, "reduction": 2},
        SwinIR: {"features": 12, "groups": 3, "blocks": 2, "heads": 2},
        Compact: {"features": 8, "convs": 3},
    }
    return family(scale, **sizes[family])


@pytest.mark.parametrize(
    ("family", "sizes", "counts"),
    [
        (EDSR, {"features": 64, "blocks": 16}, (1_369_859, 1_554_499, 1_517_571)),
        (EDSR, {"features": 256, "blocks": 32, "res_scale": 0.1}, (40_729_603, 43_680_003, 43_089_923)),
        (RCAN, {"groups": 10, "blocks": 20}, (15_444_643, 15_629_283, 15_592_355)),
        (RCAN, {"groups": 10, "blocks": 6}, (5_023_603, 5_208_243, 5_171_315)),
        (RCAN, {"groups": 10, "blocks": 5}, (4_279_243, 4_463_883, 4_426_955)),
        (RCAN, {"groups": 5, "blocks": 5}, (2_233_703, 2_418_343, 2_381_415)),
        (SwinIR, {}, (11_752_487, 11_937_127, 11_900_199)),
        (SwinIR, SWINIR_LIGHT, (1_087_727, 1_272_367, 1_235_439)),
        (SwinIR, {**SWINIR_LIGHT, "upsampler": "pixelshuffledirect"}, (910_152, 918_267, 929_628)),
        (Compact, {"features": 64, "convs": 16}, (600_652, 609_307, 621_424)),
    ],
)
def test_parameter_counts_are_the_published_ones(
    family: Callable[..., Network], sizes: dict[str, int | str], counts: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        assert tuple(parameter_count(family(scale, **sizes)) for scale in (2, 3, 4)) == counts


@pytest.mark.parametrize(
    ("family", "names", "total"),
    [
        (
            EDSR,
            "sub_mean.weight sub_mean.bias add_mean.weight add_mean.bias head.0.weight body.0.body.0.weight "
            "body.15.body.2.bias body.16.weight tail.0.0.weight tail.0.2.bias tail.1.weight",
            4 + 2 * (1 + 16 * 2 + 1 + 2 + 1),
        ),
        (
            RCAN,
            "sub_mean.weight add_mean.bias head.0.bias body.9.body.19.body.0.weight body.9.body.19.body.2.weight "
            "body.0.body.0.body.3.conv_du.0.weight body.0.body.0.body.3.conv_du.2.bias body.9.body.20.weight "
            "body.10.weight tail.0.0.weight tail.0.2.weight tail.1.bias",
            4 + 2 * (1 + 10 * (20 * 4 + 1) + 1 + 2 + 1),
        ),
        (
            SwinIR,
            "conv_first.weight patch_embed.norm.weight layers.0.residual_group.blocks.1.attn_mask "
            "layers.5.residual_group.blocks.5.attn.relative_position_bias_table "
            "layers.5.residual_group.blocks.5.attn.relative_position_index layers.0.residual_group.blocks.0.norm1.bias "
            "layers.0.residual_group.blocks.0.attn.qkv.weight layers.0.residual_group.blocks.0.attn.proj.bias "
            "layers.0.residual_group.blocks.0.mlp.fc2.weight layers.5.conv.weight norm.bias conv_after_body.weight "
            "conv_before_upsample.0.weight upsample.0.weight upsample.2.bias conv_last.weight",
            2 * 7 + 2 + 6 * (6 * 14 + 3 + 2),
        ),
        (Compact, "body.0.weight body.0.bias body.1.weight body.16.weight body.17.weight body.18.bias", 9 * 3 + 2),
    ],
)
def test_names_are_those_of_published_files(family: type[Network], names: str, total: int) -> None:
    with torch.device("meta"):
        state = family(4).state_dict()
    assert set(names.split()) <= set(state)
    assert len(state) == total


@given(networks)
@settings(max_examples=40)
def test_settings_are_read_back_from_the_state_dict(net: Network) -> None:
    state = net.state_dict()
    assert type(net).recognise(state) == net.settings
    assert all(family.recognise(state) is None for family in FAMILIES if family is not type(net))
    build(type(net), net.settings).load_state_dict(state)


def test_edsr_takes_the_residual_scale_of_its_large_model() -> None:
    with torch.device("meta"):
        large = EDSR(4, 256, 32, res_scale=0.1)
    assert EDSR.recognise(large.state_dict()) == large.settings


def test_no_family_takes_another_ones_weights(shared: Path) -> None:
    files = sorted((shared / "weights").glob("*/*.pth"))
    assert files
    for file in files:
        content = torch.load(file, map_location="cpu", weights_only=True)
        state = {name.removeprefix("module."): value for name, value in content.get("params", content).items()}
        assert [family.family for family in FAMILIES if family.recognise(state)] == [], file.name


@given(networks, st.integers(2, 19), st.integers(2, 19), st.integers(1, 2))
@settings(max_examples=40)
def test_any_size_becomes_scale_times_as_large_and_leaves_the_input_alone(net: Network, h: int, w: int, b: int) -> None:
    x = torch.rand(b, 3, h, w)
    before = x.clone()
    with torch.no_grad():
        sr = net(x)
    assert sr.shape == (b, 3, net.scale * h, net.scale * w)
    assert sr.isfinite().all()
    assert torch.equal(x, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_images_of_a_batch_do_not_mix(family: type[Network]) -> None:
    net, x = small(family), torch.rand(3, 3, 24, 16)
    with torch.no_grad():
        assert torch.allclose(net(x), torch.cat([net(one) for one in x.split(1)]), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_taps_are_the_outputs_of_the_blocks(family: type[Network]) -> None:
    net, x = small(family), torch.rand(2, 3, 13, 18)
    padded = pad_to_multiple(x, net.pad_multiple)
    with torch.no_grad():
        traced = net.trace(x, (2, 0))
        assert torch.equal(traced.sr, net(x))
        assert torch.equal(traced.shallow, net.shallow(padded))
        rebuilt = net.reconstruct(traced.taps[0], traced.shallow, padded)[..., :26, :36]
        after_first = traced.taps[1]
        for block in net.blocks[1:]:
            after_first = block(after_first)
    assert traced.shallow.shape == traced.taps[0].shape == traced.taps[1].shape == (2, net.channels, *padded.shape[-2:])
    assert torch.allclose(rebuilt, traced.sr, atol=1e-5)
    assert torch.allclose(after_first, traced.taps[0], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_the_input_and_every_parameter(family: type[Network]) -> None:
    net, x = small(family), torch.rand(1, 3, 16, 16, requires_grad=True)
    traced = net.trace(x, (0,))
    (traced.sr.square().mean() + traced.taps[0].square().mean()).backward()
    assert x.grad is not None
    assert x.grad.any()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_copy_is_independent_and_loads_the_original(family: type[Network]) -> None:
    net, x = small(family), torch.rand(1, 3, 8, 8)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        before = net(x)
        for parameter in twin.parameters():
            parameter.mul_(0.5)
        assert not torch.allclose(twin(x), before, atol=1e-3)
        assert torch.equal(net(x), before)
        twin.load_state_dict(net.state_dict())
        assert torch.equal(twin(x), before)


@pytest.mark.parametrize(
    ("family", "sizes", "setting"),
    [
        (EDSR, {"scale": 5}, "scale"),
        (EDSR, {"scale": 2, "blocks": 0}, "blocks"),
        (RCAN, {"scale": 2, "groups": 0}, "groups"),
        (RCAN, {"scale": 2, "features": 8, "reduction": 16}, "reduction"),
        (SwinIR, {"scale": 2, "heads": 7}, "heads"),
        (SwinIR, {"scale": 2, "upsampler": "nearest"}, "upsampler"),
        (Compact, {"scale": 2, "features": 0}, "features"),
    ],
)
def test_impossible_settings_are_named(
    family: Callable[..., Network], sizes: dict[str, int | str], setting: str
) -> None:
    with pytest.raises(HkdsrError, match=f"^{setting} is .*: set it to"):
        family(**sizes)


def reference_edsr(state: dict[str, Tensor], x: Tensor, blocks: int, res_scale: float) -> Tensor:
    """EDSR x2 of the paper, from the names of the released files."""

    def conv(name: str, features: Tensor) -> Tensor:
        return F.conv2d(features, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    mean = 255 * torch.tensor((0.4488, 0.4371, 0.4040)).reshape(3, 1, 1)
    head = deep = conv("head.0", 255 * x - mean)
    for i in range(blocks):
        deep = deep + res_scale * conv(f"body.{i}.body.2", conv(f"body.{i}.body.0", deep).relu())
    deep = conv(f"body.{blocks}", deep) + head
    return (conv("tail.1", F.pixel_shuffle(conv("tail.0.0", deep), 2)) + mean) / 255


def test_edsr_computes_the_paper() -> None:
    net, x = EDSR(2, 8, 3, res_scale=0.1), torch.rand(2, 3, 9, 11)
    with torch.no_grad():
        assert torch.allclose(net(x), reference_edsr(net.state_dict(), x, 3, 0.1), atol=1e-5)


def test_colour_shifts_are_loaded_but_never_trained() -> None:
    net = EDSR(2, 8, 1)
    assert not any("mean" in name for name, _ in net.named_parameters())
    state = net.state_dict()
    state["sub_mean.bias"] = torch.tensor((-1.0, -2.0, -3.0))
    net.load_state_dict(state)
    assert net.sub_mean(torch.zeros(1, 3, 1, 1)).flatten().tolist() == [-1.0, -2.0, -3.0]


def test_swinir_pads_by_reflection_and_crops() -> None:
    net, x = small(SwinIR), torch.rand(1, 3, 13, 22)
    with torch.no_grad():
        assert torch.equal(net(x), net(F.pad(x, (0, 2, 0, 3), mode="reflect"))[..., :26, :44])


def test_swinir_windows_do_not_attend_across_the_border() -> None:
    """In a single layer with shifted windows, the top row of windows must not see what the shift wrapped round."""
    layer = small(SwinIR).blocks[0].get_submodule("residual_group.blocks.1")
    x = torch.randn(1, 24, 16, 12)
    changed = x.clone()
    changed[:, -4:] = 0
    with torch.no_grad():
        difference = (layer(x) - layer(changed)).abs().amax((0, 2, 3))
    assert not difference[:12].any()
    assert difference[-4:].all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_compact_starts_close_to_the_upsampled_image(scale: int) -> None:
    x = torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        residual = Compact(scale)(x) - F.interpolate(x, scale_factor=scale, mode="nearest")
    assert 0 < residual.square().mean().sqrt() < 0.02


def test_compact_learns_within_a_few_steps(shared: Path) -> None:
    """With PyTorch's initialisation 74 to 100 % of the upsampled image's error is left after as many steps."""
    image = np.array(Image.open(shared / "benchmarks" / "Set5" / "HR" / "butterfly.png").convert("RGB"))
    hr = torch.from_numpy(image).permute(2, 0, 1).double() / 255
    lr = imresize(hr, 1 / 2)
    corners = torch.randint(0, 128 - 24, (80, 2, 4)).tolist()
    net = Compact(2)
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for ys, xs in corners:
        x = torch.stack([lr[:, y : y + 24, x : x + 24] for y, x in zip(ys, xs, strict=True)]).float()
        y = torch.stack([hr[:, 2 * y : 2 * y + 48, 2 * x : 2 * x + 48] for y, x in zip(ys, xs, strict=True)]).float()
        loss = (net(x) - y).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        learnt = (net(lr[None].float()) - hr).square().mean()
    upsampled = (F.interpolate(lr[None], scale_factor=2, mode="nearest") - hr).square().mean()
    assert learnt < 0.6 * upsampled
