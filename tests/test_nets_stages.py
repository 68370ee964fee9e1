"""A network run in pieces gives the image that it gives as a whole."""

from __future__ import annotations

import pytest
import torch
from small import SMALL, scattered, small

from hkdsr.nets.base import pad_to_multiple
from hkdsr.nets.stages import finish, run_blocks, tapped


@pytest.mark.parametrize("family", SMALL)
def test_pieces_make_the_whole(family: str) -> None:
    network = scattered(SMALL[family])
    lr = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = network(lr)
        first = network.trace(lr, (0,)).taps[0]
        if network.pad_multiple > 16:
            assert first.shape[-1] > 16
            first = first[..., :16, :16]
            assert finish(network, first, 1, lr).shape == expected.shape
            return
        third = run_blocks(network, first, 1, 3)
        for features, start in ((first, 1), (third, 3), (run_blocks(network, third, 3, 4), 4)):
            torch.testing.assert_close(finish(network, features, start, lr), expected)


@pytest.mark.parametrize("family", SMALL)
def test_which_networks_join_the_outputs_of_all_blocks(family: str) -> None:
    network = small(family)
    last = len(network.blocks) - 1
    deep, kept = network.run_trunk(
        network.shallow(pad_to_multiple(torch.rand(1, 3, 16, 16), network.pad_multiple)), {last}
    )
    assert network.joins_blocks == (deep is not kept[last])


@pytest.mark.parametrize("family", ["bsrn", "edsr"])
@pytest.mark.parametrize("start", [1, 4])
def test_given_features_reach_the_image(family: str, start: int) -> None:
    """And nothing of them stays behind in the network."""
    network = scattered(SMALL[family])
    lr = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    features = torch.randn(1, network.channels, 8, 8, dtype=torch.float64, requires_grad=True)
    before = network(lr)
    image = finish(network, features, start, lr)
    assert not torch.allclose(image, before)
    (grad,) = torch.autograd.grad(image.sum(), features)
    assert grad.any()
    assert torch.equal(network(lr), before)


def test_sizes_that_need_padding() -> None:
    network = small("swinir").double()
    lr = torch.rand(2, 3, 11, 6, dtype=torch.float64)
    features = torch.rand(2, network.channels, 11, 6, dtype=torch.float64)
    assert run_blocks(network, features, 0, 2).shape == features.shape
    assert finish(network, features, 2, lr).shape == (2, 3, 22, 12)


@pytest.mark.parametrize("family", SMALL)
def test_taps_are_those_of_a_trace(family: str) -> None:
    network = small(family)
    lr = torch.rand(1, 3, 10, 9)
    found, expected = tapped(network, lr, (2, 0, 2)), network.trace(lr, (2, 0, 2)).taps
    assert all(torch.equal(own, other) for own, other in zip(found, expected, strict=True))
