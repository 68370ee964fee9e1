"""What a module of a user's own is, is found by running it; the network made of it gives the module's own images."""

from __future__ import annotations

import copy
from itertools import chain, pairwise
from pathlib import Path

import own
import pytest
import torch
from own import Net, wrapped
from small import refusal
from torch import Tensor, nn

import hkdsr
from hkdsr.nets.exits import Exits
from hkdsr.nets.files.load import build, digest
from hkdsr.nets.probing import example_image
from hkdsr.nets.wrapped import padded
from hkdsr.scoring.inference import evaluation_mode

FOUND = {
    "plain": (1.0, 1, False, True, 4),
    "loads weights": (1.0, 1, False, True, 3),
    "0..255": (255.0, 1, True, True, 4),
    "multiples of 8": (1.0, 8, False, False, 3),
    "tuple": (1.0, 1, False, True, 3),
    "switches": (1.0, 1, False, True, 4),
}
"""Colour range, multiple of the sides, whether it changes its input and takes channels last, number of blocks."""


def run_alone(style: str, x: Tensor) -> Tensor:
    """The module's image for (B, 3, h, w) in [0, 1], as its author would get it."""
    top, multiple, *_ = FOUND[style]
    h, w = x.shape[-2:]
    result = own.model(style)(top * padded(x, multiple))
    return (result[1] if style == "tuple" else result)[..., : 2 * h, : 2 * w] / top


@pytest.mark.parametrize("style", own.OWN)
def test_what_is_found(style: str) -> None:
    network = own.own(style)
    found = network.found
    assert network.scale == 2
    assert FOUND[style] == (
        found.colour_range,
        network.pad_multiple,
        found.changes_input,
        found.takes_channels_last,
        len(network.blocks),
    )
    assert found.takes_batches
    assert network.channels == 6
    assert not network.training


@pytest.mark.parametrize("style", own.OWN)
def test_images_are_those_of_the_module(style: str) -> None:
    network, x = own.own(style), torch.rand(2, 3, 19, 22)
    before = x.clone()
    with torch.no_grad():
        assert torch.equal(network(x), run_alone(style, x))
        assert torch.equal(x, before)
        with evaluation_mode(network):  # channels last, where the module takes it
            torch.testing.assert_close(network(x), run_alone(style, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("style", own.OWN)
def test_taps_are_the_outputs_of_the_blocks(style: str) -> None:
    network, x = own.own(style), torch.rand(2, 3, 19, 22)
    taps = [network.tap_index(depth) for depth in (0.4, 1.0)]
    recorded = []
    network.blocks[taps[0]].register_forward_hook(lambda module, given, result: recorded.append(result))
    traced = network.trace(x, taps)
    first = recorded[0][0] if isinstance(recorded[0], tuple) else recorded[0]
    assert torch.equal(traced.taps[0], first[..., :19, :22])
    assert torch.equal(traced.sr, network(x))
    assert {tuple(tap.shape) for tap in (traced.shallow, *traced.taps)} == {(2, 6, 19, 22)}
    exits = Exits(network, (0.4,))
    assert exits(x, network.trace(x, exits.taps), 2)[0].shape == (2, 3, 38, 44)


@pytest.mark.parametrize("style", own.OWN)
def test_copies_stand_alone(style: str) -> None:
    network = own.own(style)
    twin, x = copy.deepcopy(network), torch.rand(1, 3, 16, 16)
    before = network.trace(x, (0, 1))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(network.trace(x, (0, 1)).taps[1], before.taps[1])
    assert not torch.equal(twin.trace(x, (0, 1)).taps[1], before.taps[1])


def test_padding_is_by_reflection_and_ends_at_multiples() -> None:
    x = torch.rand(1, 2, 9, 14)
    expected = nn.functional.pad(x, (0, 2, 0, 7), mode="reflect")
    assert torch.equal(padded(x, 8), expected)
    assert torch.equal(padded(x, 1), x)
    assert padded(x[..., :1, :2], 8).shape == (1, 2, 8, 8)


def test_autocast_is_left_off() -> None:
    """In bf16 an image would be rounded to 1/256 of its value."""
    network, x = own.own("plain"), torch.rand(1, 3, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        image = network(x)
    assert torch.equal(image, network(x))


def test_networks_of_hkdsr_stay_what_they_are() -> None:
    network = build("compact:features=4,convs=1", 2)
    assert hkdsr.wrap(network) is network
    assert "cannot wrap an object of the type str: give a torch.nn.Module" in refusal(lambda: hkdsr.wrap("compact"))  # pyright: ignore[reportArgumentType]


def test_without_weights_or_convolutions() -> None:
    class Nearest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.interpolate(x, scale_factor=2)

    network = wrapped(Nearest())
    image = hkdsr.upscale(network, torch.rand(9, 7, 3).numpy())
    assert image.shape == (18, 14, 3)
    assert not network.blocks
    assert "has no trunk" in refusal(lambda: network.tap_index(0.5))
    assert "no finite gradient reaches the weights of Nearest" in refusal(network.require_learns)


def test_the_convolutions_of_a_plain_chain_are_its_trunk() -> None:
    """As in FSRCNN and in VDSR without blocks: three of equal width, between others."""
    widths = (3, 8, 6, 6, 6, 6, 12)
    convolutions = [nn.Conv2d(*pair, 3, padding=1) for pair in pairwise(widths)]
    network = wrapped(nn.Sequential(*chain(*((conv, nn.PReLU()) for conv in convolutions)), nn.PixelShuffle(2)))
    assert list(network.blocks) == [network.model[index] for index in (4, 6, 8)]  # pyright: ignore[reportIndexIssue]
    assert network.trace(torch.rand(1, 3, 9, 9), (2,)).taps[0].shape == (1, 6, 9, 9)


def test_networks_of_equal_weights_and_other_code_differ() -> None:
    class Sharper(Net):
        def forward(self, x: Tensor) -> Tensor:
            return 1.1 * super().forward(x)

    torch.manual_seed(0)
    net = Net()
    sharper = Sharper()
    sharper.load_state_dict(net.state_dict())
    digests = [digest(hkdsr.wrap(module).state_dict()) for module in (net, sharper, copy.deepcopy(net))]
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


def test_deploying_keeps_the_image() -> None:
    network = own.own("switches")
    plain, x = network.deployed(), torch.rand(1, 3, 13, 12)
    assert sum(isinstance(part, nn.Conv2d) for part in plain.modules()) == 6
    assert sum(isinstance(part, nn.Conv2d) for part in network.modules()) == 10
    torch.testing.assert_close(plain(x), network(x), rtol=1e-4, atol=1e-5)
    assert own.own("plain").deployed().found == own.own("plain").found


def test_deploying_to_another_image_is_refused() -> None:
    class Wrong(Net):
        def switch_to_deploy(self) -> None:
            self.conv.weight.data *= 2

    message = refusal(lambda: hkdsr.wrap(Wrong()).deployed())
    assert message.startswith("Wrong gives another image after switch_to_deploy")


def test_the_example_image_is_not_flat() -> None:
    image = example_image(24, 40)
    assert image.shape == (1, 3, 24, 40)
    assert 0 <= image.min() < 0.3
    assert 0.7 < image.max() <= 1
    assert image.diff(dim=-1).abs().mean() > 0.01


def test_weights_are_saved_under_the_modules_own_names(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    network = own.own("plain")
    hkdsr.save(network, tmp_path / "net.safetensors")
    fresh = copy.deepcopy(network.model)
    for parameter in fresh.parameters():
        nn.init.zeros_(parameter)
    fresh.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert digest(fresh.state_dict()) == digest(network.model.state_dict())
