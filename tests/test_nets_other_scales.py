"""Networks of scale 1 and 8, and grey ones, that spandrel or code gives: they upscale and are scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import own
import pytest
import tiny
import torch
from own import wrapped
from small import refusal
from torch import Tensor, nn

import hkdsr
from hkdsr.data import list_images, rgb
from hkdsr.data.tensors import to_tensor
from hkdsr.methods import Logits
from hkdsr.nets import Network
from hkdsr.nets.files.load import load
from hkdsr.nets.files.spandrel import SpandrelNetwork
from hkdsr.scoring import evaluate
from hkdsr.training.log import read_log
from hkdsr.training.run import distill

KINDS = [(3, 1), (3, 8), (1, 2), (1, 1)]
"""Channels and scales."""
GREY_CODE = """
from torch import nn
class Grey(nn.Module):
    def __init__(self, scale=2):
        super().__init__()
        self.a = nn.Conv2d(1, 6, 3, padding=1)
        self.b = nn.Conv2d(6, scale ** 2, 3, padding=1)
        self.up = nn.PixelShuffle(scale)
    def forward(self, x):
        return self.up(self.b(self.a(x).relu()))
"""


class Own(nn.Module):
    """Nearly the image itself, enlarged: trained networks are taken for what they are."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels * scale**2, 3, padding=1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        same = nn.functional.interpolate(x, scale_factor=self.scale, mode="nearest")
        return same + 0.1 * nn.functional.pixel_shuffle(self.conv(x), self.scale)


def of_spandrel(channels: int, scale: int, folder: Path) -> tuple[Network, nn.Module]:
    """As read from its file, and the module."""
    pytest.importorskip("spandrel")
    from spandrel.architectures.Compact import Compact

    module = Compact(num_in_ch=channels, num_out_ch=channels, num_feat=8, num_conv=2, upscale=scale).eval()
    torch.save(module.state_dict(), folder / "net.pth")
    network = load(folder / "net.pth")
    assert isinstance(network, SpandrelNetwork)
    return network, module


def of_code(channels: int, scale: int, folder: Path) -> tuple[Network, nn.Module]:
    module = Own(channels, scale)
    return wrapped(module), module


@pytest.mark.parametrize("made", [of_spandrel, of_code])
@pytest.mark.parametrize(("channels", "scale"), KINDS)
@torch.inference_mode()
def test_they_upscale_in_tiles_and_are_scored(
    channels: int, scale: int, made: Callable[[int, int, Path], tuple[Network, nn.Module]], tmp_path: Path
) -> None:
    network, module = made(channels, scale, tmp_path)
    assert network.scale == scale
    assert any("each colour" in note for note in network.notes) == (channels == 1)
    folder = tiny.photographs(tmp_path / "set", count=2)
    image = rgb(list_images(folder)[0])
    x = to_tensor(image)
    planes = [module(plane) for plane in (x.split(1, 1) if channels == 1 else (x,))]
    expected = torch.cat(planes, 1).clamp(0, 1)
    torch.testing.assert_close(network(x).clamp(0, 1), expected, atol=1e-5, rtol=0)
    whole = hkdsr.upscale(network, image)
    assert whole.shape == (scale * image.shape[0], scale * image.shape[1], 3)
    assert np.abs(whole / 255 - expected[0].permute(1, 2, 0).numpy()).max() < 0.51 / 255
    assert np.abs(hkdsr.upscale(network, image, tile=32).astype(int) - whole).max() <= 1
    (score,) = evaluate(network, "set", tmp_path)
    assert score.protocol.startswith(f"x{scale}: {'LR is HR' if scale == 1 else f'HR cut to a multiple of {scale}'}")
    assert 5 < score.psnr_y < 70


def test_a_grey_image_stays_grey() -> None:
    image = np.repeat(np.random.default_rng(0).integers(0, 256, (20, 24, 1), np.uint8), 3, 2)
    red, green, blue = np.moveaxis(hkdsr.upscale(wrapped(Own(1, 2)), image), 2, 0)
    assert np.array_equal(red, green)
    assert np.array_equal(red, blue)


def test_grey_networks_have_no_features() -> None:
    network = wrapped(Own(1, 2))
    assert not network.can_be_tapped
    assert refusal(lambda: network.tap_index(1.0)).endswith("choose a method that compares images only")
    said = refusal(lambda: network.choose_taps(["model.conv"]))
    assert said.endswith("has no convolution, or is grey, and cannot be tapped: leave teacher_taps out")


def test_grey_code_is_trained_and_saved_as_it_is(tmp_path: Path) -> None:
    """As the student, by a grey teacher, on each colour."""
    name = f"{own.written(tmp_path, GREY_CODE, 'grey.py')}:Grey"
    recipe = tiny.replaced(tiny.recipe(tmp_path, Logits(), steps=3), student=name, teacher=name)
    student = distill(recipe).network
    assert len([line for line in read_log(recipe.out) if "losses" in line]) == 3
    loaded = load(recipe.out / "student.safetensors")
    x = torch.rand(1, 3, 12, 14)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), student(x))
    assert set(student.public_state()) == {"a.weight", "a.bias", "b.weight", "b.bias"}


def test_other_scales_are_not_trained(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits())
    eight, one = wrapped(Own(3, 8)), wrapped(Own(3, 1))
    assert refusal(lambda: tiny.replaced(recipe, scale=8)).startswith("scale is 8: set it to 2, 3 or 4, for which")
    assert refusal(lambda: distill(tiny.replaced(recipe, student=one))).endswith("x1 network: choose another one")
    said = refusal(lambda: distill(tiny.replaced(recipe, teacher=eight)))
    assert said.endswith("is a x8 network: choose another one, or set teacher_reduce to 4")


def test_a_x8_network_reduced_teaches(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=2)
    distill(tiny.replaced(recipe, teacher=Own(3, 8), teacher_reduce=4))
    assert all(line["losses"]["logits"] > 0 for line in read_log(recipe.out) if "losses" in line)
