"""SMFANet, IMDN and RLFN: the public weights load by name and score what was measured for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import check_any_size, check_gradient
from torch import Tensor

from hkdsr.data import imresize, mod_crop, rgb
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.imdn import IMDN
from hkdsr.nets.families.rlfn import RLFN
from hkdsr.nets.families.smfanet import SMFANet

FAMILIES: dict[str, type[Network]] = {"SMFANet": SMFANet, "IMDN": IMDN, "RLFN": RLFN}
FILES = {
    "SMFANet/SMFANet_plus_DF2K_100w_x2SR.pth": {"scale": 2, "dim": 48, "blocks": 12, "ffn_scale": 2.0},
    "SMFANet/SMFANet_plus_DF2K_100w_x3SR.pth": {"scale": 3, "dim": 48, "blocks": 12, "ffn_scale": 2.0},
    "SMFANet/SMFANet_plus_DF2K_100w_x4SR.pth": {"scale": 4, "dim": 48, "blocks": 12, "ffn_scale": 2.0},
    "SMFANet/SMFANet_DF2K_100w_x2SR.pth": {"scale": 2, "dim": 36, "blocks": 8, "ffn_scale": 2.0},
    "SMFANet/SMFANet_DF2K_100w_x3SR.pth": {"scale": 3, "dim": 36, "blocks": 8, "ffn_scale": 2.0},
    "SMFANet/SMFANet_DF2K_100w_x4SR.pth": {"scale": 4, "dim": 36, "blocks": 8, "ffn_scale": 2.0},
    "IMDN/IMDN_x2.pth": {"scale": 2, "features": 64, "blocks": 6},
    "IMDN/IMDN_x3.pth": {"scale": 3, "features": 64, "blocks": 6},
    "IMDN/IMDN_x4.pth": {"scale": 4, "features": 64, "blocks": 6},
    "RLFN/rlfn_x2.pth": {"scale": 2, "features": 52, "blocks": 6, "esa_channels": 16},
    "RLFN/rlfn_x4.pth": {"scale": 4, "features": 52, "blocks": 6, "esa_channels": 16},
}
X4 = [file for file, setting in FILES.items() if setting["scale"] == 4]
SMALL = [
    (SMFANet, {"dim": 8, "blocks": 3}),
    (IMDN, {"features": 16, "blocks": 3}),
    (RLFN, {"features": 8, "blocks": 3, "esa_channels": 4}),
    (RLFN, {"features": 8, "blocks": 3, "esa_channels": 0}),
]


def build(family: Callable[..., Network], setting: Mapping[str, object]) -> Network:
    return family(**setting).eval()


def read_state(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name.removeprefix("module."): value for name, value in state.get("params", state).items()}


def published(shared: Path, file: str) -> Network:
    net = build(FAMILIES[file.split("/")[0]], FILES[file])
    net.load_state_dict(read_state(shared / "weights" / file), strict=True)
    return net


def manifest(shared: Path) -> dict[str, dict]:
    return {entry["file"]: entry for entry in json.loads((shared / "weights" / "MANIFEST.json").read_text())}


@lru_cache
def set5(shared: Path, scale: int) -> list[Tensor]:
    """LR (1, 3, h, w) in [0, 1] of every image."""
    images = [mod_crop(rgb(path), scale) for path in sorted((shared / "benchmarks" / "Set5").rglob("*.png"))]
    assert len(images) == 5
    return [torch.from_numpy(imresize(hr, 1 / scale)).permute(2, 0, 1)[None] / 255 for hr in images]


@pytest.mark.parametrize("file", FILES)
def test_settings_are_read_off_the_file(shared: Path, file: str) -> None:
    family = FAMILIES[file.split("/")[0]]
    assert family.recognise(read_state(shared / "weights" / file)) == FILES[file]
    assert build(family, FILES[file]).settings == FILES[file]


def test_other_families_are_not_recognised(shared: Path) -> None:
    entries = manifest(shared)
    assert {file for file in entries if file.split("/")[0] in FAMILIES} == FILES.keys()
    for file in entries:
        state = read_state(shared / "weights" / file)
        claimed = [name for name, family in FAMILIES.items() if family.recognise(state) is not None]
        assert claimed == [name for name in FAMILIES if name == file.split("/")[0]], file


@settings(max_examples=25)
@given(
    st.sampled_from((2, 3, 4)),
    st.one_of(
        st.tuples(
            st.just(SMFANet),
            st.fixed_dictionaries(
                {"dim": st.integers(4, 60), "blocks": st.integers(1, 12), "ffn_scale": st.floats(1.0, 3.0)}
            ),
        ),
        st.tuples(
            st.just(IMDN), st.fixed_dictionaries({"features": st.integers(16, 70), "blocks": st.integers(1, 12)})
        ),
        st.tuples(
            st.just(RLFN),
            st.fixed_dictionaries(
                {"features": st.integers(1, 60), "blocks": st.integers(1, 12), "esa_channels": st.integers(0, 20)}
            ),
        ),
    ),
)
def test_any_width_and_depth_is_rebuilt_from_its_state(scale: int, net: tuple[type[Network], dict]) -> None:
    family, setting = net
    with torch.device("meta"):
        original = build(family, {"scale": scale, **setting}).state_dict()
        recognised = family.recognise(original)
        assert recognised is not None
        rebuilt = build(family, recognised).state_dict()
    assert recognised["scale"] == scale
    assert {name: value.shape for name, value in rebuilt.items()} == {k: v.shape for k, v in original.items()}


@pytest.mark.parametrize(("family", "setting"), SMALL)
@settings(max_examples=20)
@given(st.integers(1, 35), st.integers(1, 35), st.sampled_from((2, 3, 4)))
def test_any_size_gives_an_image_of_its_own(
    family: type[Network], setting: dict[str, int], h: int, w: int, scale: int
) -> None:
    net = build(family, {"scale": scale, **setting})
    check_any_size(net, torch.rand(2, 3, h, w), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("file", X4)
@pytest.mark.parametrize("size", [(1, 1), (1, 37), (25, 41)])
def test_gradients_are_finite_and_reach_every_parameter(shared: Path, file: str, size: tuple[int, int]) -> None:
    net = published(shared, file)
    # The published IMDN shuts one block's attention off on flat images; the butterfly keeps all of it alive.
    lr = set5(shared, 4)[2][..., : size[0], : size[1]]
    net(lr).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        if size == (25, 41):
            assert gradient.any(), name


@pytest.mark.parametrize(("family", "setting"), SMALL)
def test_gradient_is_the_slope(family: type[Network], setting: dict[str, int]) -> None:
    net = build(family, {"scale": 2, **setting}).double()
    check_gradient(net, 19, 17)


@pytest.mark.parametrize("file", X4)
def test_taps_are_the_block_outputs(shared: Path, file: str) -> None:
    net = published(shared, file)
    lr = set5(shared, 4)[0][..., :21, :30]
    with torch.inference_mode():
        traced = net.trace(lr, (4, 1, len(net.blocks) - 1))
        features = shallow = net.shallow(lr)
        outputs = [features := block(features) for block in net.blocks]
        sr = net(lr)
    torch.testing.assert_close(traced.shallow, shallow, atol=0, rtol=0)
    assert len(outputs) == FILES[file]["blocks"]
    for tap, index in zip(traced.taps, (4, 1, -1), strict=True):
        assert tap.shape == (1, net.channels, 21, 30)
        torch.testing.assert_close(tap, outputs[index], atol=0, rtol=0)
    torch.testing.assert_close(traced.sr, sr, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("family", "setting"),
    [
        (SMFANet, {"scale": 5}),
        (SMFANet, {"scale": 2, "blocks": 0}),
        (SMFANet, {"scale": 2, "dim": 1}),
        (IMDN, {"scale": 2, "features": 15}),
        (IMDN, {"scale": 2, "blocks": 0}),
        (RLFN, {"scale": 2, "blocks": 0}),
        (RLFN, {"scale": 2, "esa_channels": -1}),
    ],
)
def test_impossible_settings_are_refused(family: type[Network], setting: dict[str, int]) -> None:
    with pytest.raises(HkdsrError, match="set "):
        build(family, setting)
