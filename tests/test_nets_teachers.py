"""What a recipe may change about its teacher: which modules are its taps, and its scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small import refusal
from torch import Tensor, nn

from hkdsr.data import imresize
from hkdsr.methods import FAKD, HKDSR
from hkdsr.nets.files.load import build, load
from hkdsr.nets.teachers import as_teacher
from hkdsr.nets.wrap import wrap
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.networks import loaded_teacher
from hkdsr.training.run import distill


class Pyramid(nn.Module):
    """A network without a run of like blocks: features at full, half and double size, and narrower ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.up = nn.Sequential(nn.Conv2d(8, 32, 3, padding=1), nn.PixelShuffle(2))
        self.large = nn.Sequential(nn.Conv2d(8, 32, 1), nn.PixelShuffle(2))
        self.narrow = nn.Conv2d(8, 4, 3, padding=1)
        self.last = nn.Sequential(nn.Conv2d(4, 12, 3, padding=1), nn.PixelShuffle(2))
        self.mean, self.spare = nn.AdaptiveAvgPool2d(1), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0 * self.mean(x)
        features = self.first(x)
        features = features + self.up(self.down(features)) + self.large(features).mean()
        return self.last(self.narrow(features)) + F.interpolate(x, scale_factor=2.0)


def test_named_modules_are_the_blocks() -> None:
    torch.manual_seed(0)
    module = Pyramid()
    network = as_teacher(wrap(module, pad_multiple=2), "mine", ("down", "up", "large"))
    x = torch.rand(2, 3, 10, 14)
    expected = [down := module.down(first := module.first(x)), module.up(down), module.large(first)]
    traced = network.trace(x, range(3))
    assert (len(network.blocks), network.channels) == (3, 8)
    assert network.settings["taps"] == "down,up,large"
    torch.testing.assert_close(traced.taps[1], expected[1])
    for tap, other in ((traced.taps[0], expected[0]), (traced.taps[2], expected[2])):
        resized = F.interpolate(other, (10, 14), mode="bilinear", align_corners=False, antialias=True)
        torch.testing.assert_close(tap, resized)
    torch.testing.assert_close(traced.shallow, traced.taps[0])  # as the first one's input has another size
    torch.testing.assert_close(traced.sr, network(x))


@pytest.mark.parametrize(
    ("taps", "sentence"),
    [
        (("first", "frist"), "mine has no module frist, which teacher_taps names: .* first"),
        (("mean",), r"the tap mean of mine gives \(1, 3, 1, 1\) where an image is 32x32"),
        (("first", "spare"), "the tap spare of mine runs 0 times"),
        (("first", "narrow"), "the taps of mine have 8 channels, but narrow has 4"),
    ],
)
def test_wrong_taps_are_named(taps: tuple[str, ...], sentence: str) -> None:
    torch.manual_seed(0)
    network = wrap(Pyramid(), pad_multiple=2, name="mine")
    with pytest.raises(Exception, match=sentence):
        as_teacher(network, "mine", taps)
    assert "\n" not in refusal(lambda: as_teacher(network, "mine", taps))


def test_taps_of_the_families_are_their_blocks() -> None:
    assert "leave it out" in refusal(lambda: as_teacher(load("compact_x2"), "compact_x2", ("body.2",)))


@pytest.mark.parametrize(
    ("given_as", "expected"),
    [("body.0,body.7", ("body.0", "body.7")), (["a", "b, c"], ("a", "b", "c")), ((), ()), ("", ())],
)
def test_paths_may_be_one_text_with_commas(given_as: object, expected: tuple[str, ...]) -> None:
    assert DistillRecipe(teacher_taps=given_as).teacher_taps == expected  # pyright: ignore[reportArgumentType]


@given(st.integers(5, 20), st.integers(5, 20))
@settings(max_examples=10)
def test_a_reduced_network_gives_its_image_reduced(height: int, width: int) -> None:
    network = build("edsr:features=4,blocks=3", 4).eval()
    x = torch.rand(2, 3, height, width)
    reduced = as_teacher(network, "big", reduce=2)
    with torch.no_grad():
        traced, whole = reduced.trace(x, (0, 2)), network.trace(x, (0, 2))
        assert reduced.scale == 2
        assert traced.sr.shape == (2, 3, 2 * height, 2 * width)
        torch.testing.assert_close(traced.sr, imresize(whole.sr, 0.5))
        torch.testing.assert_close(reduced(x), traced.sr)
    assert all(torch.equal(a, b) for a, b in zip(traced.taps, whole.taps, strict=True))
    assert reduced.tap_index(0.5) == network.tap_index(0.5)


@pytest.mark.parametrize(("scale", "by"), [(3, 2), (2, 2), (4, 4), (4, 3)])
def test_a_scale_that_does_not_fit_is_refused(scale: int, by: int) -> None:
    message = refusal(lambda: as_teacher(build("compact:features=4,convs=2", scale), "big", reduce=by))
    assert message.startswith(f"teacher_reduce is {by} but big is a x{scale} network")


def big(folder: Path) -> DistillRecipe:
    """A recipe for x2 with the shipped network for x4."""
    return tiny.replaced(tiny.recipe(folder, HKDSR()), teacher="tiny_x4", teacher_reduce=2, allow_odd_teacher=False)


def test_the_scales_of_teacher_and_student_are_told(tmp_path: Path) -> None:
    recipe = big(tmp_path)
    message = refusal(lambda: loaded_teacher(tiny.replaced(recipe, teacher_reduce=1)))
    assert message.endswith("is a x4 network: set scale to 4, or teacher_reduce to 2")
    message = refusal(lambda: loaded_teacher(tiny.replaced(recipe, scale=3)))
    assert message.endswith("tiny_x4 (reduced by 2) is a x2 network: set scale to 2")


@pytest.mark.parametrize("method", [HKDSR, FAKD])
def test_a_reduced_teacher_has_exits_and_features(method: Callable[[], HKDSR | FAKD], tmp_path: Path) -> None:
    recipe = tiny.replaced(big(tmp_path), method=method())
    assert distill(recipe).steps == 12
    assert float(tiny.metadata(recipe.out / "student.safetensors")["teacher_fidelity"]) > 50


def test_a_reduced_teacher_lends_neither_weights_nor_its_tail(tmp_path: Path) -> None:
    recipe = big(tmp_path)
    assert "init is 'slice'" in refusal(lambda: distill(tiny.replaced(recipe, init="slice")))
    assert "run only as a whole" in refusal(lambda: distill(tiny.exits(recipe, kind="teacher_tail")))


def test_other_taps_have_exits_of_their_own(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR())
    for number, taps in enumerate(("first,down,up", "first,up,down")):
        one = tiny.exits(tiny.replaced(recipe, teacher=Pyramid(), teacher_taps=taps), student=(0.5,), teacher=(0.5,))
        assert distill(tiny.replaced(one, out=tmp_path / f"out{number}")).steps == 12
        assert len(list((tmp_path / "cache").glob("exits-*"))) == number + 1
