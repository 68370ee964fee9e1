"""What a module of a user's own is, is found by running it; the network made of it gives the module's own images."""

from __future__ import annotations

import copy
from itertools import chain, pairwise
from pathlib import Path

import own
import pytest
import torch
from small import SMALL, refusal
from torch import Tensor, nn

import hkdsr
from hkdsr.nets import FAMILIES
from hkdsr.nets.exits import Exits
from hkdsr.nets.files.load import build, digest, load
from hkdsr.nets.probing import example_image
from hkdsr.nets.wrapped import WrappedNetwork, padded
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


class Net(nn.Module):
    """A network for tests that replace its parts."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3 * scale**2, 3, padding=1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), self.scale)


def wrapped(module: nn.Module) -> WrappedNetwork:
    network = hkdsr.wrap(module)
    assert isinstance(network, WrappedNetwork)
    return network


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


def test_a_range_may_be_told() -> None:
    class Large(Net):
        color_range = 255

    class Wide(Net):
        colour_range = "wide"

    assert wrapped(Large()).found.colour_range == 255
    network = hkdsr.wrap(Net(), colour_range=255)
    x = torch.rand(1, 3, 8, 8)
    assert isinstance(network, WrappedNetwork)
    torch.testing.assert_close(network(x), network.model(255 * x) / 255)
    assert "has the colour range 'wide': set it to 1 or 255" in refusal(lambda: hkdsr.wrap(Wide()))


@pytest.mark.parametrize("family", FAMILIES)
def test_untrained_networks_in_0_to_1_are_not_taken_for_255(family: str) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = build(SMALL[family], 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    assert wrapped(Plain()).found.colour_range == 1


def test_a_trained_network_is_known_by_its_range() -> None:
    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = load("compact_x2")

        def forward(self, x: Tensor) -> Tensor:
            return 255 * self.inner(x / 255)

    class Plain(Large):
        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    large, plain = wrapped(Large()).found, wrapped(Plain()).found
    assert (large.colour_range, plain.colour_range) == (255, 1)
    assert large.fidelity == pytest.approx(plain.fidelity, abs=0.1)
    assert plain.fidelity > 50 > 40 > own.own("plain").found.fidelity


def test_the_place_of_the_image_may_be_told() -> None:
    class Two(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
            image = super().forward(x)
            return image, image + 1

    x = torch.rand(1, 3, 8, 8)
    module = Two()
    assert torch.equal(hkdsr.wrap(module)(x), module(x)[0])
    assert torch.equal(hkdsr.wrap(module, output=1)(x), module(x)[1])
    assert "for an image of (1, 3, 64, 64)" in refusal(lambda: hkdsr.wrap(module, output=2))


def test_images_that_must_come_alone_do() -> None:
    class Single(Net):
        def forward(self, x: Tensor) -> Tensor:
            assert len(x) == 1
            return super().forward(x)

    network, x = wrapped(Single()), torch.rand(3, 3, 8, 8)
    assert not network.found.takes_batches
    assert torch.equal(network(x)[1:2], network.model(x[1:2]))
    assert network.trace(x, ()).sr.shape == (3, 3, 16, 16)


@pytest.mark.parametrize("multiple", [2, 5, 7, 12, 16])
def test_multiples(multiple: int) -> None:
    class Strict(Net):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] % multiple or x.shape[-2] % multiple:
                raise ValueError("size")
            return super().forward(x)

    network = wrapped(Strict())
    assert network.pad_multiple == multiple
    assert network(torch.rand(1, 3, 13, 31)).shape == (1, 3, 26, 62)
    given = hkdsr.wrap(Strict(), pad_multiple=2 * multiple)
    assert given.pad_multiple == 2 * multiple


def test_sizes_that_come_out_cropped_count_as_wrong() -> None:
    class Strided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(3, 8, 4, 4), nn.ConvTranspose2d(8, 3, 8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(self.down(x))

    assert wrapped(Strided()).pad_multiple == 4


def test_a_single_size_is_refused() -> None:
    class Fixed(Net):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[-2:] == (48, 48)
            return super().forward(x)

    assert "takes images of 48x48 but not of other sizes: let it take" in refusal(lambda: hkdsr.wrap(Fixed()))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_scales(scale: int) -> None:
    assert hkdsr.wrap(Net(scale)).scale == scale


@pytest.mark.parametrize("scale", [1, 5, 8])
def test_other_scales_are_refused(scale: int) -> None:
    message = refusal(lambda: hkdsr.wrap(Net(scale)))
    assert message.startswith(f"Net gives (1, 3, {64 * scale}, {64 * scale}) for an image of (1, 3, 64, 64): give")


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
