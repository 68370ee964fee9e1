"""Networks whose outputs are no images, and tensors that are no weights: named when loaded, and when used."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx_files
import pytest
import tiny
import torch
from hostile import command, photo, refusal, refused
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import hkdsr
from hkdsr.data import ImageData, write_image
from hkdsr.nets import Network
from hkdsr.nets.files.load import build

BROKEN = {"nan": math.nan, "infinite": math.inf, "huge": 1e30}


def spoilt(value: float) -> Network:
    """A network with one weight of this value in its first convolution."""
    network = build("compact:features=4,convs=2", 2).eval()
    with torch.no_grad():
        next(network.parameters())[0, 0, 1, 1] = value
    return network


def overflowing() -> Network:
    """In float32 it is a network like any other; in half precision its features exceed the largest number."""
    network = tiny.nearest(2)
    first, second = network.body[0], network.body[2]
    assert isinstance(first, torch.nn.Conv2d)
    assert isinstance(second, torch.nn.Conv2d)
    with torch.no_grad():
        first.weight.fill_(3e4)
        second.weight.fill_(1e-6)
        last = network.body[-1]
        assert isinstance(last, torch.nn.Conv2d)
        last.weight.fill_(1e-4)
    return network


@pytest.mark.parametrize("name", BROKEN)
def test_weights_that_make_no_images_are_named_when_loaded(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    hkdsr.save(spoilt(BROKEN[name]), path)
    assert str(path) in refusal(lambda: hkdsr.load(path))
    torch.save(spoilt(BROKEN[name]).state_dict(), tmp_path / "net.pth")
    assert "net.pth" in refusal(lambda: hkdsr.load(tmp_path / "net.pth"))
    Image.fromarray(photo()).save(tmp_path / "a.png")
    refused("upscale", tmp_path / "a.png", "-m", path, "-o", tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("name", BROKEN)
def test_and_when_used(name: str, tmp_path: Path) -> None:
    write_image(tmp_path / "Set1" / "a.png", ImageData(photo(40, 40)))
    network = spoilt(BROKEN[name])
    for use in (
        lambda: hkdsr.upscale(network, photo()),
        lambda: hkdsr.upscale(network, photo(40, 40), tile=16),
        lambda: hkdsr.evaluate(network, "Set1", tmp_path),
    ):
        sentence = refusal(use)
        assert any(word in sentence for word in ("finite", "NaN", "range"))


def test_half_precision_that_overflows_is_named() -> None:
    network = overflowing()
    assert hkdsr.upscale(network, photo()).std() > 10
    with torch.inference_mode():
        assert not network.half()(torch.full((1, 3, 8, 8), 0.9, dtype=torch.half)).isfinite().all()
    assert "use fp32, as they may overflow in float16" in refusal(lambda: hkdsr.upscale(network.half(), photo()))


def test_one_bad_pixel_is_enough() -> None:
    class Spot(type(tiny.nearest(2))):
        def forward(self, x: Tensor) -> Tensor:
            large = super().forward(x)
            large[..., -1, -1] = math.nan
            return large

    network = tiny.nearest(2)
    network.__class__ = Spot
    refusal(lambda: hkdsr.upscale(network, photo()))


@pytest.mark.parametrize("factor", [9000.0, math.nan])
def test_an_onnx_file_of_another_range_is_named(factor: float, tmp_path: Path) -> None:
    path = onnx_files.written(tmp_path, onnx_files.times(factor))
    sentence = refusal(lambda: hkdsr.load(path))
    assert str(path) in sentence
    assert "0..255" in sentence or math.isnan(factor)


def test_an_onnx_file_is_right_with_values_a_little_out_of_range(tmp_path: Path) -> None:
    path = onnx_files.written(tmp_path, onnx_files.times(1.2))
    wanted = (photo() * 1.2).clip(0, 255).round().astype(np.uint8).repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(hkdsr.upscale(hkdsr.load(path), photo()), wanted, atol=1)


def test_nothing_is_distilled_from_a_teacher_of_another_range(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png", ImageData(photo(40, 40)))
    path = onnx_files.written(tmp_path, onnx_files.times(9000))
    folders = ("--data.train", tmp_path / "images", "--data.cache", tmp_path / "cache", "--out", tmp_path / "out")
    settings = ("--student", "compact:features=4,convs=1", "--method.name", "logits", "--data.patch", "8")
    assert "net.onnx" in refused("distill", "--teacher", path, *settings, *folders, "--training.steps", "1")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", onnx_files.kinds())
def test_onnx_outputs_that_are_no_image_are_named(kind: str, tmp_path: Path) -> None:
    path = onnx_files.written(tmp_path, onnx_files.kinds()[kind])
    assert str(path) in refusal(lambda: hkdsr.load(path))


def odd(kind: str, value: Tensor) -> Tensor:
    match kind:
        case "meta":
            return value.to("meta")
        case "nested":
            return torch.nested.nested_tensor([value[0], value[1]])
        case "sparse":
            return value.to_sparse()
        case "sparse rows":
            return value.flatten(1).to_sparse_csr()
        case "quantised":
            return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)
        case "bool":
            return value > 0
        case "complex":
            return torch.complex(value, value)
        case "whole numbers":
            return (value * 9).to(torch.int8)
    raise ValueError(kind)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind", ["meta", "nested", "sparse", "sparse rows", "quantised", "bool", "complex", "whole numbers"]
)
@pytest.mark.parametrize("all_of_them", [False, True], ids=["one", "all"])
def test_tensors_that_are_no_weights_are_named(kind: str, all_of_them: bool, tmp_path: Path) -> None:
    state = tiny.nearest(2).state_dict()
    keys = [key for key, value in state.items() if value.ndim == 4]
    for key in keys if all_of_them else keys[:1]:
        state[key] = odd(kind, state[key])
    torch.save(state, tmp_path / "net.pth")
    sentence = refusal(lambda: hkdsr.load(tmp_path / "net.pth"))
    assert "net.pth" in sentence
    assert keys[0] in sentence


def test_whole_numbers_in_safetensors_are_no_weights_either(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    hkdsr.save(tiny.nearest(2), path)
    state = load_file(path)
    key = next(iter(state))
    for kind in (torch.bool, torch.int8, torch.complex64):
        save_file({**state, key: state[key].to(kind)}, path)
        assert key in refusal(lambda: hkdsr.load(path))


def test_float8_and_bfloat16_weights_are_read_or_named(tmp_path: Path) -> None:
    network = build("compact:features=4,convs=2", 2)
    state = {key: value.bfloat16() for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    hkdsr.load(tmp_path / "net.pth")
    torch.save({key: value.to(torch.float8_e4m3fn) for key, value in state.items()}, tmp_path / "net.pth")
    ended = command("info", tmp_path / "net.pth")
    assert ended.code in (0, 2)
