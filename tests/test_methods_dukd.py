"""DUKD and AugKD: the auxiliary images, changes that are undone exactly, and the formulas restated."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import small
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hkdsr.data import imresize
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits, compose
from hkdsr.methods.augkd import AugKD
from hkdsr.methods.dukd import DUKD
from hkdsr.methods.inputs import LossInputs
from hkdsr.methods.zoom import CHANGES, changed, random_changes, random_tiles, reduced, restored
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Outputs
from hkdsr.nets.files.load import build

ALL = torch.tensor(list(itertools.product([False, True], repeat=4)))
VARIANTS = [DUKD(), DUKD(probability=0.0), DUKD(change_zoom_out=True, probability=0.7), AugKD(), AugKD(probability=0.7)]


def dyadic(*shape: int) -> Tensor:
    """Images without symmetries whose values and their inverted colours are exact in float32."""
    return torch.randint(257, shape) / 256


def networks(scale: int) -> tuple[Network, Network]:
    """A student and a teacher in float64 that stay near [0, 1] and commute with no change."""
    student, teacher = (build(f"compact:features={width},convs=2", scale).double() for width in (3, 4))
    return student, teacher.requires_grad_(False)


def make_inputs(student: Network, teacher: Network, lr: Tensor, hr: Tensor) -> LossInputs:
    with torch.no_grad():
        given = Outputs(teacher(lr).clamp(0, 1))
    return LossInputs(lr, hr, Outputs(student(lr)), given, student, (teacher,))


def inputs(scale: int, side: int, count: int = 3) -> LossInputs:
    lr = torch.rand(count, 3, side, side, dtype=torch.float64)
    hr = torch.rand(count, 3, scale * side, scale * side, dtype=torch.float64)
    return make_inputs(*networks(scale), lr, hr)


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_undoing_is_exact_for_every_combination(scale: int) -> None:
    images = dyadic(16, 3, 6, 6)
    plain = changed(images, ALL)
    assert len({image.numpy().tobytes() for image in plain}) == 16
    assert torch.equal(plain[0], images[0])
    assert torch.equal(restored(plain, ALL), images)
    # Nearest enlargement commutes with every change, so their effect disappears.
    enlarge = tiny.nearest(scale)
    assert torch.equal(restored(enlarge(plain), ALL), enlarge(images))


def test_the_order_of_application_would_undo_a_quarter_wrongly() -> None:
    images = dyadic(16, 3, 6, 6)
    twice = changed(changed(images, ALL), ALL)
    wrong = (twice != images).flatten(1).any(1)
    # Wrong where a transposition meets exactly one flip: 12.6 % of all images at probability 0.3.
    assert torch.equal(wrong, ALL[:, 3] & (ALL[:, 1] ^ ALL[:, 2]))
    chances = torch.where(ALL, 0.3, 0.7).double().prod(1)
    assert chances[wrong].sum().item() == pytest.approx(0.126)


def test_each_change_is_chosen_with_its_probability() -> None:
    chosen = random_changes(20_000, 0.3)
    assert (chosen.dtype, chosen.device.type, chosen.shape) == (torch.bool, "cpu", (20_000, len(CHANGES)))
    assert chosen.double().mean(0).tolist() == pytest.approx([0.3] * 4, abs=0.02)
    both = (chosen[:, :, None] & chosen[:, None]).double().mean(0)
    assert both[~torch.eye(4, dtype=torch.bool)].tolist() == pytest.approx([0.09] * 12, abs=0.02)
    assert not random_changes(50, 0.0).any()
    assert random_changes(50, 1.0).all()
    torch.manual_seed(5)
    first = random_changes(9, 0.5)
    torch.manual_seed(5)
    assert torch.equal(first, random_changes(9, 0.5))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_zoom_in_takes_every_tile_of_its_own_image(scale: int) -> None:
    height, width, count = 2, 3, 300
    hr = torch.rand(count, 3, scale * height, scale * width)
    found = []
    for image, tile in zip(hr, random_tiles(hr, scale), strict=True):
        places = [
            (row, column)
            for row, column in itertools.product(range(scale), repeat=2)
            if torch.equal(image[:, row * height : (row + 1) * height, column * width : (column + 1) * width], tile)
        ]
        assert len(places) == 1
        found += places
    assert len(set(found)) == scale**2
    assert max(found.count(place) for place in set(found)) < 2.5 * count / scale**2


@settings(max_examples=40)
@given(st.sampled_from([2, 3, 4]), st.integers(4, 20), st.integers(4, 20))
def test_zoom_out_cuts_to_a_multiple_and_clamps(scale: int, height: int, width: int) -> None:
    # Black and white pixels make bicubic overshoot.
    lr = torch.randint(2, (2, 3, height, width)).double()
    small_, whole = reduced(lr, scale)
    assert small_.shape == (2, 3, height // scale, width // scale)
    assert torch.equal(whole, lr[..., : height - height % scale, : width - width % scale])
    assert torch.equal(small_, imresize(whole, 1 / scale).clamp(0, 1))


def test_zoom_out_of_too_small_a_patch_is_refused() -> None:
    message = small.refusal(lambda: DUKD().losses(None, inputs(3, 2)))
    assert message == "LR crops of 2x2 pixels are too small for zoom-out at x3: set data.patch to 3 or more"
    assert "zoom_in" in DUKD(zoom_out_weight=0, zoom_out_pixel_weight=0).losses(None, inputs(3, 2))


def plain_changed(image: np.ndarray, drawn: list[bool]) -> np.ndarray:
    inverted, mirrored, flipped, transposed = drawn
    image = 1 - image if inverted else image
    image = image[:, :, ::-1] if mirrored else image
    image = image[:, ::-1] if flipped else image
    return image.transpose(0, 2, 1) if transposed else image


def plain_restored(image: np.ndarray, drawn: list[bool]) -> np.ndarray:
    inverted, mirrored, flipped, transposed = drawn
    image = image.transpose(0, 2, 1) if transposed else image
    image = image[:, ::-1] if flipped else image
    image = image[:, :, ::-1] if mirrored else image
    return 1 - image if inverted else image


def run(network: Network | None, image: np.ndarray) -> np.ndarray:
    assert network is not None
    with torch.no_grad():
        return network(torch.from_numpy(image.copy())[None])[0].numpy()


def restatement(method: DUKD, given: LossInputs, seed: int) -> dict[str, float]:
    """Image by image in NumPy, with the random choices of ``seed``."""
    torch.manual_seed(seed)
    student, (teacher,) = given.student_network, given.teacher_networks
    (count, _, side, _), scale = given.lr.shape, given.hr.shape[-1] // given.lr.shape[-1]
    unchanged = [[False] * 4] * count
    rows, columns = torch.randint(scale, (2, count)).tolist()
    inner = (torch.rand(count, 4) < method.probability).tolist() if method.probability else unchanged
    outer = unchanged
    if method.probability and method.change_zoom_out:
        outer = (torch.rand(count, 4) < method.probability).tolist()
    sums = dict.fromkeys(("pixel", "logits", "zoom_in", "zoom_out_pixel", "zoom_out"), 0.0)
    for i, (x, y) in enumerate(zip(given.lr.numpy(), given.hr.numpy(), strict=True)):
        s = run(student, x)
        u = y[:, rows[i] * side : (rows[i] + 1) * side, columns[i] * side : (columns[i] + 1) * side]
        whole = x[:, : side // scale * scale, : side // scale * scale]
        v = imresize(torch.from_numpy(whole.copy()), 1 / scale).clamp(0, 1).numpy()
        s_u = plain_restored(run(student, plain_changed(u, inner[i])), inner[i])
        s_v = plain_restored(run(student, plain_changed(v, outer[i])), outer[i])
        sums["pixel"] += method.pixel_weight * np.abs(s - y).mean()
        sums["logits"] += method.teacher_weight * np.abs(s - run(teacher, x).clip(0, 1)).mean()
        sums["zoom_in"] += method.zoom_in_weight * np.abs(s_u - run(teacher, u).clip(0, 1)).mean()
        sums["zoom_out_pixel"] += method.zoom_out_pixel_weight * np.abs(s_v - whole).mean()
        sums["zoom_out"] += method.zoom_out_weight * np.abs(s_v - run(teacher, v).clip(0, 1)).mean()
    return {name: value / count for name, value in sums.items() if value}


@pytest.mark.parametrize("method", VARIANTS, ids=str)
@pytest.mark.parametrize(("scale", "side"), [(2, 7), (3, 7), (4, 9)])
def test_terms_equal_a_plain_restatement(method: DUKD, scale: int, side: int) -> None:
    given = inputs(scale, side, count=8)
    torch.manual_seed(scale)
    terms = method.losses(None, given)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        restatement(method, given, scale), rel=1e-12
    )


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("method", [DUKD(probability=0.5), AugKD(probability=0.5)], ids=str)
def test_zero_where_the_student_is_the_teacher_and_commutes(method: DUKD, scale: int) -> None:
    lr, hr = dyadic(32, 3, 12, 12), dyadic(32, 3, 12 * scale, 12 * scale)
    terms = method.losses(None, make_inputs(tiny.nearest(scale), tiny.nearest(scale), lr, hr))
    assert terms["pixel"] > 0
    assert (terms["logits"], terms["zoom_in"]) == (0, 0)
    if not method.change_zoom_out:
        assert terms["zoom_out"] == 0
    # The reduction is not rounded: its inverted colours are off by the last bit.
    assert terms["zoom_out"] < 1e-7


@pytest.mark.parametrize("term", ["pixel", "logits", "zoom_in", "zoom_out_pixel", "zoom_out"])
@pytest.mark.parametrize("method", [DUKD(), DUKD(probability=0.8, change_zoom_out=True)], ids=str)
def test_the_gradient_of_each_term_is_its_slope(method: DUKD, term: str) -> None:
    student, teacher = networks(2)
    lr, hr = torch.rand(2, 3, 6, 6).double(), torch.rand(2, 3, 12, 12).double()
    parameters = list(student.parameters())
    step = [torch.randn_like(parameter) for parameter in parameters]

    def value() -> Tensor:
        torch.manual_seed(3)
        return method.losses(None, make_inputs(student, teacher, lr, hr))[term]

    def moved(by: float) -> float:
        with torch.no_grad():
            for parameter, direction in zip(parameters, step, strict=True):
                parameter += by * direction
            return value().item()

    grads = torch.autograd.grad(value(), parameters)
    slope = sum((grad * direction).sum().item() for grad, direction in zip(grads, step, strict=True))
    assert all(grad.any() for grad in grads)
    ahead, behind = moved(1e-7), moved(-2e-7)
    assert (ahead - behind) / 2e-7 == pytest.approx(slope, rel=1e-4)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize(
    ("switched_off", "left"),
    [
        ({"zoom_in_weight": 0.0}, {"pixel", "logits", "zoom_out_pixel", "zoom_out"}),
        ({"zoom_out_weight": 0.0}, {"pixel", "logits", "zoom_in", "zoom_out_pixel"}),
        ({"zoom_out_pixel_weight": 0.0}, {"pixel", "logits", "zoom_in", "zoom_out"}),
        ({"zoom_out_pixel_weight": 0.0, "zoom_out_weight": 0.0}, {"pixel", "logits", "zoom_in"}),
    ],
)
def test_a_zoom_can_be_switched_off(switched_off: dict[str, Any], left: set[str]) -> None:
    assert DUKD(**switched_off).losses(None, inputs(2, 6)).keys() == left


def test_in_a_sum_the_common_terms_are_counted_once() -> None:
    hkdsr, given = HKDSR(kd_on_intermediate=False).resolved(2), inputs(2, 8)
    method = compose(hkdsr, DUKD())
    assert method.uses_networks
    student, teacher = networks(2)
    heads = method.heads(student, (teacher,), 0)
    assert heads is not None
    terms = method.losses(heads.double(), given)
    assert list(terms) == ["pixel", "fsm", "acf", "logits", "zoom_in", "zoom_out_pixel", "zoom_out"]
    plain = Logits().losses(None, given)
    torch.testing.assert_close(terms["pixel"], plain["pixel"])
    torch.testing.assert_close(terms["logits"], plain["logits"])


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(HkdsrError, match=r"^method\.zoom_in_weight is -1: set it to 0 or more$"):
        DUKD(zoom_in_weight=-1)
    with pytest.raises(HkdsrError, match=r"^method\.probability is 1\.5: set it to a value from 0 to 1$"):
        AugKD(probability=1.5)
