"""A network under watch gives the same image, stops in the middle of a tile, and keeps the part that is shown."""

from __future__ import annotations

from threading import Timer

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import small

from hkdsr.deploy import watched as module
from hkdsr.deploy.grid import Tile, cover
from hkdsr.deploy.onnx_upscaler import WEIGHTS, open_shipped
from hkdsr.deploy.upscale import TorchUpscaler, fill
from hkdsr.deploy.upscaler import Readable, Writable
from hkdsr.deploy.watched import Watched
from hkdsr.memory import fits
from hkdsr.nets.files.load import load
from hkdsr.stop import CancelledError, Stop

SIDE = 700


class Repeating:
    """An ``Upscaler`` that repeats each pixel, in tiles of ``side``; the first time memory runs out after a tile."""

    scale, runtime, on_gpu = 2, "none", False

    def __init__(self, side: int) -> None:
        self.side = side

    def fill(self, image: Readable, enlarged: Writable, name: str, tile: object, progress: bool) -> None:
        size = (image.shape[0], image.shape[1])

        def out_of_memory() -> None:
            self._keep(next(iter(cover(size, 2 * self.side, 3, 1))), image, enlarged)
            raise MemoryError

        assert not fits(out_of_memory)
        for one in cover(size, self.side, 3, 1):
            self._keep(one, image, enlarged)

    def _keep(self, tile: Tile, image: Readable, enlarged: Writable) -> None:
        pixels = image[tile.seen].repeat(2, axis=0).repeat(2, axis=1)
        enlarged[tile.kept_of_whole(2)] = pixels[tile.kept_of_seen(2)]


SIDES = st.integers(1, 40)


@given(height=SIDES, width=SIDES, side=st.integers(1, 12), shown=st.integers(2, 60), grey=st.booleans())
@settings(max_examples=60)
def test_the_part_that_is_shown_is_kept(height: int, width: int, side: int, shown: int, grey: bool) -> None:
    image = np.random.default_rng(0).integers(0, 255, (height, width) if grey else (height, width, 3), np.uint8)
    enlarged, told = np.zeros((2 * height, 2 * width, *image.shape[2:]), np.uint8), list[tuple[float, int]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SIDE", shown)
        watched = Watched(Repeating(side), Stop(), lambda *what: told.append(what))
        watched.fill(image, enlarged, "the image", "auto", False)
    expected = image.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(enlarged, expected)
    rows, columns = watched.part
    np.testing.assert_array_equal(watched.lr, image[rows, columns])
    np.testing.assert_array_equal(
        watched.sr, expected[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop]
    )
    for part, length in ((rows, height), (columns, width)):
        assert part.stop - part.start == min(length, shown // 2)
        assert 0 <= length - part.start - part.stop <= 1
    assert told[-1] == (1, len(list(cover((height, width), side, 3, 1))))


def test_a_network_under_watch_gives_the_same_image() -> None:
    network, image = small("compact"), np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    own, other = np.zeros((80, 60, 3), np.uint8), np.zeros((80, 60, 3), np.uint8)
    fill(network, image, own, "the image")
    watched = Watched(TorchUpscaler(network), Stop(), lambda *_: None)
    watched.fill(image, other, "the image", 16, False)
    assert abs(own.astype(int) - other).max() <= 1
    np.testing.assert_array_equal(watched.sr, other)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_it_stops_between_two_layers() -> None:
    network, stop, ran = small("compact"), Stop(), list[str]()
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    for number, convolution in enumerate(convolutions):
        convolution.register_forward_hook(
            lambda *_, number=number: (ran.append(str(number)), number == 2 and stop.give())[:0] or None
        )
    enlarged = np.zeros((80, 60, 3), np.uint8)
    watched = Watched(TorchUpscaler(network), stop, lambda *_: None)
    with pytest.raises(CancelledError):
        watched.fill(np.zeros((40, 30, 3), np.uint8), enlarged, "the image", None, False)
    assert ran == ["0", "1", "2"]
    assert len(convolutions) > 3


class Pressing:
    """A grey image: a moment after its pixels were read, ``stop`` is given by another thread."""

    shape, dtype = (SIDE, SIDE), np.dtype(np.uint8)

    def __init__(self, stop: Stop, seconds: float) -> None:
        self.timer = Timer(seconds, stop.give)

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        self.timer.start()
        return np.zeros(self.shape, np.uint8)[part]


@pytest.mark.parametrize("by", ["as shipped", "as a file"])
@pytest.mark.parametrize("seconds", [0, 0.1])
def test_onnx_runtime_stops_in_the_middle_of_a_tile(by: str, seconds: float) -> None:
    """The one tile of the image is never written, though it takes seconds to make."""
    pytest.importorskip("onnxruntime")
    path = WEIGHTS / "compact_x2.onnx"
    upscaler = open_shipped(path, "onnx") if by == "as shipped" else TorchUpscaler(load(path))
    stop, told, enlarged = Stop(), list[int](), np.full((2 * SIDE, 2 * SIDE), 7, np.uint8)
    image = Pressing(stop, seconds)
    with pytest.raises(CancelledError):
        Watched(upscaler, stop, lambda _, tiles: told.append(tiles)).fill(image, enlarged, "the image", None, False)
    image.timer.join()
    assert told == []
    assert (enlarged == 7).all()


def test_a_stop_is_for_the_work_that_heeds_it() -> None:
    """Other work of the same thread goes on, and errors without a stop stay what they are."""
    pytest.importorskip("onnxruntime")
    upscaler, stop = open_shipped(WEIGHTS / "tiny_x4.onnx", "onnx"), Stop()
    with pytest.raises(ZeroDivisionError), stop.heeded():
        raise ZeroDivisionError
    stop.give()
    with pytest.raises(CancelledError), stop.heeded():
        upscaler.fill(np.zeros((9, 9), np.uint8), np.zeros((36, 36), np.uint8), "the image", None, False)
    enlarged = np.full((36, 36), 7, np.uint8)
    upscaler.fill(np.zeros((9, 9), np.uint8), enlarged, "the image", None, False)
    assert not (enlarged == 7).any()
