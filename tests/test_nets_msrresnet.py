"""MSRResNet: BasicSR's files load strictly, and the network computes what BasicSR's does, stated again plainly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small import pth, refusal, scattered, small
from torch import Tensor

import hkdsr
from hkdsr.nets.base import parameter_count
from hkdsr.nets.families.msrresnet import MSRResNet
from hkdsr.nets.files.load import digest


def restated(state: Mapping[str, Tensor], x: Tensor, scale: int) -> Tensor:
    """The forward pass as BasicSR describes it, from its names."""

    def conv(name: str, features: Tensor) -> Tensor:
        return F.conv2d(features, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    def rectified(features: Tensor) -> Tensor:
        return torch.where(features > 0, features, 0.1 * features)

    features, block = rectified(conv("conv_first", x)), 0
    while f"body.{block}.conv1.weight" in state:
        features = features + conv(f"body.{block}.conv2", conv(f"body.{block}.conv1", features).clamp(min=0))
        block += 1
    for step in ("upconv1", "upconv2")[: 1 + (scale == 4)]:
        features = rectified(F.pixel_shuffle(conv(step, features), 3 if scale == 3 else 2))
    enlarged = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    return conv("conv_last", rectified(conv("conv_hr", features))) + enlarged


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_computes_what_basicsr_computes(scale: int) -> None:
    network = scattered("msrresnet:features=5,blocks=3", scale)
    x = torch.rand(2, 3, 7, 10, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), restated(network.state_dict(), x, scale))


@pytest.mark.parametrize("container", ["params", "params_ema"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_file_of_basicsr_loads(scale: int, container: str, tmp_path: Path) -> None:
    """Names and shapes are written out here, not taken from the network."""
    shapes = {"conv_first": (6, 3), "conv_hr": (6, 6), "conv_last": (3, 6)}
    shapes |= {f"body.{block}.conv{number}": (6, 6) for block in (0, 1) for number in (1, 2)}
    shapes |= {"upconv1": (54 if scale == 3 else 24, 6)} | ({"upconv2": (24, 6)} if scale == 4 else {})
    state = {}
    for name, (outputs, inputs) in shapes.items():
        state |= {f"{name}.weight": 0.1 * torch.randn(outputs, inputs, 3, 3), f"{name}.bias": torch.randn(outputs) / 20}
    network = hkdsr.load(pth(tmp_path, {container: state}))
    assert network.settings == {"scale": scale, "features": 6, "blocks": 2}
    assert digest(network.state_dict()) == digest(state)
    x = torch.rand(1, 3, 9, 12)
    with torch.no_grad():
        torch.testing.assert_close(network(x), restated(state, x, scale))


def test_basicsrs_network_has_its_number_of_parameters() -> None:
    with torch.device("meta"):
        counts = [parameter_count(MSRResNet(scale)) for scale in (2, 3, 4)]
    assert counts == [1_369_859, 1_554_499, 1_517_571]


def test_a_x8_file_is_refused(tmp_path: Path) -> None:
    state = small("msrresnet", 2).state_dict() | {
        "upconv1.weight": torch.zeros(64 * 8, 8, 3, 3),
        "upconv1.bias": torch.zeros(64 * 8),
    }
    assert "x8" in refusal(lambda: hkdsr.load(pth(tmp_path, state)))


def test_damaged_shapes_are_told(tmp_path: Path) -> None:
    state = small("msrresnet", 2).state_dict() | {"upconv1.weight": torch.zeros(8, 0, 3, 3)}
    refusal(lambda: hkdsr.load(pth(tmp_path, state)))
