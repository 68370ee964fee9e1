"""Scale, colour range, sizes, the place of the image and batches are found by running a module."""

from __future__ import annotations

import own
import pytest
import torch
from own import Net, wrapped
from small import SMALL, refusal
from torch import Tensor, nn

import hkdsr
from hkdsr.nets import FAMILIES
from hkdsr.nets.files.load import build, load
from hkdsr.nets.wrapped import WrappedNetwork


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


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_scales(scale: int) -> None:
    assert hkdsr.wrap(Net(scale)).scale == scale


@pytest.mark.parametrize("scale", [5, 6])
def test_other_scales_are_refused(scale: int) -> None:
    message = refusal(lambda: hkdsr.wrap(Net(scale)))
    assert message.startswith(f"Net gives (1, 3, {64 * scale}, {64 * scale}) for an image of (1, 3, 64, 64): give")


def test_input_and_output_may_have_other_ranges() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = load("compact_x2")

        def forward(self, x: Tensor) -> Tensor:
            return 255 * self.inner(x)

    network, x = wrapped(Mixed()), torch.rand(1, 3, 16, 18)
    assert (network.found.colour_range, network.found.output_range) == (1, 255)
    assert "colours in 0..1, its image in 0..255" in network.notes[0]
    torch.testing.assert_close(network(x), load("compact_x2")(x))


def test_another_number_of_images_is_no_image() -> None:
    class Twice(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).repeat(2, 1, 1, 1)

    assert "gives (2, 3, 128, 128) for an image of (1, 3, 64, 64)" in refusal(lambda: hkdsr.wrap(Twice()))
