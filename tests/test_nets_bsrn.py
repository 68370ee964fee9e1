"""BSRN: the public weights load by name, and it keeps what every network promises."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import check_any_size, check_gradient
from torch import Tensor

from hkdsr.data import imresize, rgb
from hkdsr.errors import HkdsrError
from hkdsr.nets import FAMILIES
from hkdsr.nets.base import parameter_count
from hkdsr.nets.families.bsrn import BSRN

PARAMETERS = {2: 331_628, 3: 340_283, 4: 352_400}
SIZES = [(1, 1), (1, 37), (14, 15), (25, 41)]
scales = st.sampled_from((2, 3, 4))


def read_state(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state.get("params", state)


def published(shared: Path, scale: int) -> BSRN:
    net = BSRN(scale)
    net.load_state_dict(read_state(shared / "weights" / "BSRN" / f"BSRN_x{scale}.pth"), strict=True)
    return net.eval()


@lru_cache
def butterfly(shared: Path) -> Tensor:
    """LR (1, 3, 64, 64) in [0, 1]: a quarter of the image's size."""
    (path,) = (shared / "benchmarks" / "Set5").rglob("butterfly*.png")
    return torch.from_numpy(imresize(rgb(path), 1 / 4)).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("scale", PARAMETERS)
def test_published_files_load_strictly_and_tell_their_settings(shared: Path, scale: int) -> None:
    net = published(shared, scale)
    assert BSRN.recognise(net.state_dict()) == net.settings == {"scale": scale, "features": 64, "blocks": 8}
    assert parameter_count(net) == PARAMETERS[scale]


def test_no_family_takes_another_ones_weights(shared: Path) -> None:
    files = sorted((shared / "weights").glob("*/*.pth"))
    assert sum(file.parent.name == "BSRN" for file in files) == 3
    for file in files:
        state = read_state(file)
        assert (BSRN.recognise(state) is not None) == (file.parent.name == "BSRN"), file.name
        if file.parent.name == "BSRN":
            assert [name for name, family in FAMILIES.items() if family.recognise(state)] == ["bsrn"], file.name


@settings(max_examples=20)
@given(scales, st.integers(16, 70), st.integers(1, 12))
def test_any_width_and_depth_is_rebuilt_from_its_state(scale: int, features: int, blocks: int) -> None:
    with torch.device("meta"):
        net = BSRN(scale, features, blocks)
    assert BSRN.recognise(net.state_dict()) == net.settings
    assert net.settings == {"scale": scale, "features": features, "blocks": blocks}


@settings(max_examples=25)
@given(st.integers(1, 35), st.integers(1, 35), scales)
def test_any_size_gives_an_image_of_its_own_and_leaves_the_input_alone(h: int, w: int, scale: int) -> None:
    net = BSRN(scale, 16, 2).eval()
    check_any_size(net, torch.rand(2, 3, h, w), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", PARAMETERS)
@pytest.mark.parametrize("size", SIZES)
def test_published_networks_keep_the_colours_of_any_size(shared: Path, scale: int, size: tuple[int, int]) -> None:
    lr = butterfly(shared)[..., : size[0], : size[1]]
    with torch.inference_mode():
        sr = published(shared, scale)(lr)
    assert sr.shape == (1, 3, scale * size[0], scale * size[1])
    # Of a single row, the convolutions see more zeros from beyond the image than pixels.
    tolerance = 0.05 if min(size) == 1 else 0.002
    torch.testing.assert_close(sr.mean((-2, -1)), lr.mean((-2, -1)), atol=tolerance, rtol=0)


def test_taps_are_the_block_outputs(shared: Path) -> None:
    net = published(shared, 4)
    lr = butterfly(shared)[..., :21, :30]
    with torch.inference_mode():
        traced = net.trace(lr, (4, 1, 7))
        features = shallow = net.shallow(lr)
        outputs = [features := block(features) for block in net.blocks]
        sr = net(lr)
    assert len(outputs) == 8
    assert torch.equal(traced.shallow, shallow)
    for tap, index in zip(traced.taps, (4, 1, 7), strict=True):
        assert tap.shape == (1, net.channels, 21, 30)
        assert torch.equal(tap, outputs[index])
    assert torch.equal(traced.sr, sr)


@pytest.mark.parametrize("size", SIZES)
def test_gradients_are_finite_and_reach_every_parameter(shared: Path, size: tuple[int, int]) -> None:
    net = published(shared, 4)
    net(butterfly(shared)[..., : size[0], : size[1]]).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if size == SIZES[-1]:
            assert parameter.grad.any(), name


def test_gradient_is_the_slope() -> None:
    net = BSRN(2, 16, 3).double()
    check_gradient(net, 19, 17)


@pytest.mark.parametrize("setting", [{"scale": 5}, {"scale": 2, "features": 15}, {"scale": 2, "blocks": 0}])
def test_impossible_settings_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(HkdsrError, match="set "):
        BSRN(**setting)
