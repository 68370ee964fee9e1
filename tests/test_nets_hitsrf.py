"""HiT-SRF: the published weights load by name; correlation, windows and mirroring against their definitions."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import check_any_size, check_gradient
from torch import Tensor

from hkdsr.data import rgb
from hkdsr.errors import HkdsrError
from hkdsr.nets.families.hitsrf import WINDOWS, HiTSRF
from hkdsr.nets.families.hitsrf_attention import Correlation, from_windows, mirror_to_multiple, to_windows

FILE = "HiT-SRF/HiT-SRF-x4.pth"
PUBLISHED = {"scale": 4, "features": 60, "groups": 4, "blocks": 6, "heads": 6, "mlp_dim": 120}
SMALL = {"features": 36, "groups": 3, "blocks": 3, "heads": 3, "mlp_dim": 8}


def read_state(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name.removeprefix("module."): value for name, value in state.get("params", state).items()}


@lru_cache
def published(shared: Path) -> HiTSRF:
    net = HiTSRF(**PUBLISHED).eval()
    net.load_state_dict(read_state(shared / "weights" / FILE), strict=True)
    return net


@lru_cache
def woman(shared: Path) -> Tensor:
    """A real image (1, 3, 344, 228) in [0, 1]."""
    image = rgb(next((shared / "benchmarks" / "Set5").rglob("woman.png")))
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255


def small(scale: int = 2) -> HiTSRF:
    return HiTSRF(scale, **SMALL).double().eval()


def test_settings_are_read_off_the_file_and_no_others(shared: Path) -> None:
    for entry in json.loads((shared / "weights" / "MANIFEST.json").read_text()):
        found = HiTSRF.recognise(read_state(shared / "weights" / entry["file"]))
        assert found == (PUBLISHED if entry["file"] == FILE else None), entry["file"]
        if found:
            assert sum(parameter.numel() for parameter in published(shared).parameters()) == entry["params"]


@settings(max_examples=15)
@given(
    st.fixed_dictionaries(
        {
            "scale": st.sampled_from((2, 3, 4)),
            "features": st.sampled_from((36, 48, 60, 72)),
            "groups": st.integers(1, 11),
            "blocks": st.integers(1, 6),
            "heads": st.sampled_from((1, 2, 3, 6)),
            "mlp_dim": st.integers(1, 150),
        }
    )
)
def test_any_width_and_depth_is_rebuilt_from_its_state(setting: dict[str, int]) -> None:
    with torch.device("meta"):
        original = HiTSRF(**setting)
    assert original.settings == setting
    assert HiTSRF.recognise(original.state_dict()) == setting


def widen_windows(state: dict[str, Tensor]) -> None:
    state["layers.0.residual_group.blocks.1.correlation.spatial_linear.weight"] = torch.empty(1, 4)


def drop_a_layer(state: dict[str, Tensor]) -> None:
    for name in [name for name in state if name.startswith("layers.1.residual_group.blocks.2.")]:
        del state[name]


def change_the_heads(state: dict[str, Tensor]) -> None:
    state["layers.2.residual_group.blocks.0.correlation.pos.pos3.2.weight"] = torch.empty(6, 2)


def reconstruct_otherwise(state: dict[str, Tensor]) -> None:
    state["conv_last.weight"] = torch.empty(3, 64, 3, 3)


@pytest.mark.parametrize("change", [widen_windows, drop_a_layer, change_the_heads, reconstruct_otherwise])
def test_relatives_are_not_recognised(change: Callable[[dict[str, Tensor]], None]) -> None:
    state = small().state_dict()
    assert HiTSRF.recognise(state) is not None
    change(state)
    assert HiTSRF.recognise(state) is None


@settings(max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(WINDOWS))
def test_mirroring_goes_on_at_every_edge(h: int, w: int, window: int) -> None:
    x = torch.rand(1, h, w, 2)
    expected = np.pad(x.numpy(), ((0, 0), (0, -h % window), (0, -w % window), (0, 0)), mode="reflect")
    assert torch.equal(mirror_to_multiple(x, window), torch.from_numpy(expected))


def test_windows_hold_neighbours_and_go_back_to_their_places() -> None:
    x = torch.arange(2 * 12 * 8 * 3).view(2, 12, 8, 3)
    windows = to_windows(x, 4)
    assert windows.shape == (2, 6, 16, 3)
    assert torch.equal(windows[1, 3].view(4, 4, 3), x[1, 4:8, 4:8])
    assert torch.equal(from_windows(windows, 4, 3), x)


@pytest.mark.parametrize("window", [4, 8, 16, 24])
@torch.no_grad()
def test_correlation_is_what_the_paper_defines(window: int) -> None:
    """The maps of all pairs written out, for the last window of an image."""
    heads, half, base = 3, 18, min(window, 8)
    cell, pixels = window // base, window**2
    layer = Correlation(2 * half, heads, window).double()
    x = torch.randn(2, 2 * window, window, 2 * half, dtype=torch.float64)
    qv = layer.qv(x.permute(0, 3, 1, 2))[1, :, window:].flatten(1).T
    query, value = qv.split(half, 1)

    # To which reduced value each pixel belongs, and its place in the cell that this value is made from.
    y, x_ = torch.arange(pixels) // window, torch.arange(pixels) % window
    owner, place = y // cell * base + x_ // cell, y % cell * cell + x_ % cell
    weight = torch.zeros(base**2, pixels, dtype=torch.float64)
    weight[owner, torch.arange(pixels)] = layer.spatial_linear.weight[0, place]
    reduced = weight @ value + layer.spatial_linear.bias
    offsets = torch.stack([y[:, None] - y, x_[:, None] - x_], -1).double()
    members = torch.zeros(pixels, base**2, dtype=torch.float64)
    members[torch.arange(pixels), owner] = 1 / cell**2

    spatial = []
    for head in range(heads):
        part = slice(head * half // heads, (head + 1) * half // heads)
        bias = layer.pos(offsets)[..., head] @ members
        spatial.append((query[:, part] @ reduced[:, part].T / (half // heads) + bias) @ reduced[:, part])
    channel = (query.T @ value / pixels @ value.T).T
    expected = layer.proj(torch.cat([*spatial, channel], 1))
    torch.testing.assert_close(layer(x)[1, window:].flatten(0, 1), expected)


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from((2, 3, 4)))
def test_any_size_gives_an_image_of_its_own(h: int, w: int, scale: int) -> None:
    net = small(scale)
    check_any_size(net, torch.rand(2, 3, h, w, dtype=torch.float64))


def test_gradients_reach_every_parameter() -> None:
    net = HiTSRF(**{**PUBLISHED, "groups": 1})
    net(torch.rand(1, 3, 21, 13)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (23, 29)])
def test_taps_are_the_block_outputs(shared: Path, size: tuple[int, int]) -> None:
    net, lr = published(shared), woman(shared)[..., : size[0], : size[1]]
    before = lr.clone()
    with torch.inference_mode():
        traced = net.trace(lr, (2, 0, 3))
        shallow = net.shallow(lr)
        features = net.patch_embed(shallow)
        outputs = [features := block(features) for block in net.blocks]
        sr = net(lr)
    assert torch.equal(lr, before)
    assert torch.equal(traced.shallow, shallow)
    assert len(outputs) == 4
    for tap, index in zip(traced.taps, (2, 0, 3), strict=True):
        assert tap.shape == (1, net.channels, *size)
        assert torch.equal(tap, outputs[index])
    assert sr.shape == (1, 3, 4 * size[0], 4 * size[1])
    assert torch.equal(traced.sr, sr)
    # Whatever the size, the image reduced again is about the one given.
    assert (torch.nn.functional.avg_pool2d(sr, 4) - lr).abs().mean() < 0.03


@pytest.mark.parametrize("size", [(1, 1), (19, 25)])
def test_gradients_of_the_published_network_are_finite(shared: Path, size: tuple[int, int]) -> None:
    """Finite only: the tiny networks for position have died in some published layers."""
    net = published(shared)
    gradients = torch.autograd.grad(
        net(woman(shared)[..., : size[0], : size[1]]).square().mean(), list(net.parameters())
    )
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_gradient_is_the_slope() -> None:
    net = small()
    check_gradient(net, 11, 19)


@pytest.mark.parametrize(
    "setting",
    [{"scale": 5}, {"blocks": 7}, {"features": 12}, {"features": 40}, {"heads": 7}, *({name: 0} for name in SMALL)],
)
def test_impossible_settings_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(HkdsrError, match="set "):
        HiTSRF(**{"scale": 2, **setting})
