"""Tiles must not be seen: the tiled image is compared with the whole one, for networks of known reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hkdsr.data import imresize, rgb
from hkdsr.deploy.grid import cover
from hkdsr.deploy.tiles import measure_reach, reach
from hkdsr.deploy.upscale import upscale
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.families.compact import Compact
from hkdsr.nets.families.edsr import EDSR


class Chain(Network):
    """Convolutions of ``kernel`` taps whose outermost taps matter, so that the reach is exactly known."""

    family = "chain"

    def __init__(self, scale: int = 2, kernel: int = 3, convs: int = 3, everything: bool = False) -> None:
        super().__init__(scale)
        self.everything = everything
        sizes = [3, *[8] * (convs - 1), 3 * scale**2]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, kernel, padding=kernel // 2) for i, o in pairwise(sizes))

    @property
    def channels(self) -> int:
        return 8

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return list(self.convs)[1:-1]

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {"scale": self.scale}

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        return None

    def shallow(self, x: Tensor) -> Tensor:
        features = self.convs[0](x)
        # As channel attention does: one number of the whole image scales every pixel.
        return features * features.mean(dim=(-2, -1), keepdim=True).sigmoid() if self.everything else features

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.convs[-1](deep), self.scale) + F.interpolate(x, scale_factor=float(self.scale))


class Nearest(Chain):
    """Repeats pixels exactly, so that results are known to the last bit.

    Refuses images larger than ``room``, and notes the longer sides of all that it is given.
    """

    room = 10**9
    says: Exception = torch.OutOfMemoryError("CUDA out of memory")

    def __init__(self, scale: int = 2) -> None:
        super().__init__(scale)
        self.tried: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.tried.append((x.shape[-2], x.shape[-1]))
        if x.shape[-2] * x.shape[-1] > self.room:
            raise self.says
        return F.interpolate(x, scale_factor=float(self.scale))


@pytest.fixture(scope="module")
def street(shared: Path) -> np.ndarray:
    """A real LR image, uint8 (96, 132, 3)."""
    return imresize(rgb(shared / "benchmarks" / "Set14" / "HR" / "ppt3.png"), 0.25)[:96, :132]


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(4, 80),
    st.integers(0, 20),
    st.sampled_from((1, 2, 8)),
    st.data(),
)
def test_tiles_cover_every_pixel_once_with_their_surroundings(
    height: int, width: int, side: int, surroundings: int, multiple: int, data: st.DataObject
) -> None:
    tiles = list(cover((height, width), side, surroundings, multiple))
    covered = np.zeros((height, width), int)
    for tile in tiles:
        covered[tile.kept] += 1
    assert (covered == 1).all()

    tile = data.draw(st.sampled_from(tiles))
    scale = data.draw(st.sampled_from((1, 2, 3)))
    for seen, kept, length in zip(tile.seen, tile.kept, (height, width), strict=True):
        assert seen.start % multiple == 0
        assert seen.stop % multiple == 0 or seen.stop == length
        assert seen.start <= max(kept.start - surroundings, 0)
        assert seen.stop >= min(kept.stop + surroundings, length)
    whole = np.arange(scale**2 * height * width).reshape(scale * height, scale * width)
    seen = whole[tuple(slice(scale * part.start, scale * part.stop) for part in tile.seen)]
    np.testing.assert_array_equal(seen[tile.kept_of_seen(scale)], whole[tile.kept_of_whole(scale)])


@pytest.mark.parametrize(("kernel", "convs"), [(3, 3), (5, 2), (1, 2), (7, 6)])
def test_the_measured_reach_is_that_of_the_kernels(kernel: int, convs: int) -> None:
    measured = measure_reach(Chain(kernel=kernel, convs=convs))
    assert not measured.sees_all
    # One pixel less where the corner taps of random weights hardly count.
    assert convs * (kernel // 2) - 1 <= measured.pixels <= convs * (kernel // 2)


def test_a_network_that_sees_everything_is_told_apart(street: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    network = Chain(everything=True)
    assert measure_reach(network).sees_all
    upscale(network, street, tile=32)
    assert [message for message in caplog.messages if "sees the whole image at once" in message] == caplog.messages
    caplog.clear()
    upscale(network, street, tile=132)
    assert not caplog.messages


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("tile", [16, 37, 100])
def test_tiles_match_the_whole_image(street: np.ndarray, scale: int, tile: int) -> None:
    network = Chain(scale=scale, kernel=5, convs=4)
    whole, tiled = upscale(network, street), upscale(network, street, tile=tile)
    assert whole.shape == (scale * 96, scale * 132, 3)
    assert np.ptp(whole) > 100
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert (whole != tiled).mean() < 0.001


@pytest.mark.parametrize("network", [Compact(2, features=8, convs=6), EDSR(2, features=8, blocks=4)], ids=["c", "e"])
def test_deep_networks_match_too(street: np.ndarray, network: Network) -> None:
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                # Gains of a trained network's order, so that far neighbours still count.
                nn.init.kaiming_normal_(layer.weight)
    assert 5 <= measure_reach(network).pixels <= 12
    whole, tiled = upscale(network, street), upscale(network, street, tile=24)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_windows_lie_in_tiles_as_in_the_whole_image(street: np.ndarray) -> None:
    class Windows(Chain):
        """Each window of 8 x 8 becomes its mean; sizes that are no multiple of 8 are padded."""

        pad_multiple = 8

        def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
            return F.interpolate(F.avg_pool2d(x, 8), scale_factor=8.0 * self.scale)

    network = Windows()
    image = street[:, :131]
    np.testing.assert_array_equal(upscale(network, image), upscale(network, image, tile=20))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planes", [(), (3,), (4,)])
@pytest.mark.parametrize("tile", [None, 16])
def test_every_value_of_every_kind_survives(
    dtype: type[np.unsignedinteger], planes: tuple[int, ...], tile: int
) -> None:
    largest = np.iinfo(dtype).max
    generator = np.random.default_rng(0)
    image = generator.integers(0, largest + 1, (31, 23, *planes)).astype(dtype)
    upscaled = upscale(Nearest(scale=3), image, tile)
    assert upscaled.dtype == dtype
    assert upscaled.shape == (93, 69, *planes)
    colours = slice(None) if planes != (4,) else slice(3)
    seen = image[..., 3] > 0 if planes == (4,) else slice(None)
    np.testing.assert_array_equal(upscaled[1::3, 1::3][..., colours][seen], image[..., colours][seen])
    if planes == (4,):
        np.testing.assert_array_equal(upscaled[..., 3], imresize(image[..., 3], 3))


def test_grey_is_the_mean_of_three_equal_channels(street: np.ndarray) -> None:
    network, grey = Chain(), street[..., 1]
    colour = upscale(network, np.repeat(grey[..., None], 3, axis=2)).astype(float)
    assert np.ptp(colour, axis=2).max() > 2
    assert np.abs(upscale(network, grey) - colour.mean(axis=2)).max() <= 1


def test_deep_images_do_not_pass_through_eight_bits(street: np.ndarray) -> None:
    network = Chain()
    deep = street.astype(np.uint16) * 257
    eight, sixteen = upscale(network, street), upscale(network, deep)
    assert np.abs(sixteen / 257 - eight).max() <= 0.51
    assert len(np.unique(sixteen)) > 1000


@pytest.mark.parametrize(
    "says", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_auto_halves_tiles_until_they_fit(street: np.ndarray, says: Exception) -> None:
    network = Nearest()
    network.says = says
    whole = upscale(network, street, tile="auto")
    assert network.tried == [(96, 132)]
    assert not reach(network).pixels
    network.room, network.tried = 40 * 40, []
    np.testing.assert_array_equal(upscale(network, street, tile="auto"), whole)
    assert network.tried == [(96, 132), (66, 66), *[(side, 33) for side in (33, 33, 30) for _ in range(4)]]
    network.room = 10
    sentence = "the image: tiles of 16 pixels do not fit into the memory of cpu: use a smaller network"
    with pytest.raises(HkdsrError, match=sentence):
        upscale(network, street, tile="auto")
    with pytest.raises(HkdsrError, match=r"tiles of 64 pixels do not fit .* set tile to 'auto'"):
        upscale(network, street, tile=64)


def test_other_errors_of_the_network_are_not_taken_for_a_lack_of_memory(street: np.ndarray) -> None:
    network = Nearest()
    network.room, network.says = 10, RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        upscale(network, street, tile="auto")


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (0, 4, 3), (1, 4, 4, 3)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(HkdsrError, match="cannot upscale uint8"):
        upscale(Nearest(), np.zeros(shape, np.uint8))
    with pytest.raises(HkdsrError, match="cannot upscale int32"):
        upscale(Nearest(), np.zeros((4, 4, 3), np.int32))
    with pytest.raises(HkdsrError, match="tile is 8: leave it out or set it to at least 16"):
        upscale(Nearest(), np.zeros((4, 4, 3), np.uint8), tile=8)
