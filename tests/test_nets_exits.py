"""Exits: where they sit, what their heads start as, and whose tail they use."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import small
from torch import nn

from hkdsr.data import imresize
from hkdsr.errors import HkdsrError
from hkdsr.nets import FAMILIES, Network, parameter_count
from hkdsr.nets.base import pad_to_multiple
from hkdsr.nets.exits import ExitHead, Exits, NetworkWithExits, Outputs, enlarge, exit_taps
from hkdsr.nets.families.compact import Compact
from hkdsr.nets.families.edsr import EDSR
from hkdsr.nets.families.rcan import RCAN
from hkdsr.nets.families.swinir import SwinIR

DEPTHS = (0.25, 0.5)


def with_exits(network: Network, *options: Any) -> NetworkWithExits:
    return NetworkWithExits(network, Exits(network, DEPTHS, *options)).eval()


def refusal(*arguments: Any) -> str:
    with pytest.raises(HkdsrError) as caught:
        Exits(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("network", "depths", "taps"),
    [
        (RCAN(2, 10, 1, 4, 2), (0.3, 0.7), (2, 6)),
        (RCAN(2, 5, 1, 4, 2), (0.2, 0.6), (0, 2)),
        (Compact(2, 4, 8), (0.3, 0.7), (1, 5)),
        (EDSR(2, 4, 16), (0.3, 0.7), (4, 10)),
        (SwinIR(2, 4, 6, 1, 2), (1 / 3, 2 / 3), (1, 3)),
        (Compact(2, 4, 8), (0.01, 0.9), (0, 6)),
        (Compact(2, 4, 8), (), ()),
    ],
    ids=lambda value: value.family if isinstance(value, Network) else str(value),
)
def test_depths_become_blocks(network: Network, depths: tuple[float, ...], taps: tuple[int, ...]) -> None:
    assert exit_taps(network, depths) == Exits(network, depths).taps == taps


@given(st.integers(2, 24), st.floats(0.01, 1.0))
def test_every_depth_is_the_nearest_block_and_never_the_last(blocks: int, depth: float) -> None:
    network = Compact(2, 1, blocks)
    nearest = max(1, round(depth * blocks))
    if nearest == blocks:
        assert "the final output" in refusal(network, (depth,))
    else:
        assert exit_taps(network, (depth,)) == (nearest - 1,)


def test_depths_that_cannot_be_are_refused() -> None:
    network = Compact(2, 4, 4)
    assert "at the last of 4 blocks of compact, which gives the final output: set" in refusal(network, (0.5, 1.0))
    assert "fall on the same block of compact, which has 4 blocks: set fewer" in refusal(network, (0.5, 0.55))
    for depth in (0.0, -0.5, 1.5):
        assert f"tap depth is {depth}: " in refusal(network, (depth,))


@pytest.mark.parametrize(("scale", "count"), [(2, 186_371), (3, 371_011), (4, 334_083)])
def test_vector_8_parameters_of_a_separate_head(scale: int, count: int) -> None:
    assert parameter_count(ExitHead(64, scale, "upsampler", "plain")) == count


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_cheap_tail_has_one_convolution(scale: int) -> None:
    head = ExitHead(64, scale, "shuffle", "bicubic")
    assert parameter_count(head) == 9 * 64 * 64 + 64 + (9 * 64 + 1) * 3 * scale**2


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_suit_the_family(family: str) -> None:
    """A head with the family's own kind of tail: as costly as the network's."""
    convs = [m for m in Exits(small(family, 4), (0.5,)).heads.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == (4 if family in ("edsr", "msrresnet", "rcan", "swinir") else 2)


@pytest.mark.parametrize("tail", ["upsampler", "shuffle"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_separate_heads_start_as_bicubic(scale: int, family: str, tail: str) -> None:
    network = small(family, scale)
    x = torch.rand(2, 3, 19, 21)
    with torch.no_grad():
        found = with_exits(network, "separate", tail, "bicubic")(x)
    expected = imresize(x, float(scale))
    assert len(found.exits) == 2
    assert all(torch.equal(image, expected) for image in found.exits)
    assert torch.equal(found.final, network(x))


def test_bicubic_is_the_default_start_and_plain_adds_nothing() -> None:
    x = torch.rand(1, 3, 8, 8)
    network = small("compact")
    assert torch.equal(with_exits(network)(x).exits[0], enlarge(x, 2))
    exits = Exits(network, DEPTHS, "separate", "shuffle", "plain")
    traced = network.trace(x, exits.taps)
    for head, features, image in zip(exits.heads, traced.taps, exits(x, traced, 2), strict=True):
        assert isinstance(head, ExitHead)
        assert torch.equal(image, head.tail(head.body(features) + traced.shallow))
        assert image.std() > 0


def test_a_bicubic_start_learns_at_once() -> None:
    """The last convolution starts at zero, but not what feeds it, so that its gradient is not zero."""
    network = small("compact")
    found = with_exits(network)
    found(torch.rand(2, 3, 8, 8)).exits[0].square().mean().backward()
    head = found.exits.heads[0]
    assert isinstance(head, ExitHead)
    grad = next(head.tail.parameters()).grad
    assert grad is not None
    assert grad.any()


@pytest.mark.parametrize("kind", ["separate", "shared"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("scale", "height", "width"), [(2, 8, 9), (3, 13, 9), (4, 1, 8)])
def test_images_have_the_right_size(scale: int, height: int, width: int, family: str, kind: str) -> None:
    network = small(family, scale)
    found = with_exits(network, kind, "auto", "plain")(torch.rand(2, 3, height, width))
    assert isinstance(found, Outputs)
    assert {image.shape for image in (found.final, *found.exits)} == {(2, 3, scale * height, scale * width)}
    assert all(image.isfinite().all() for image in found.exits)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_exit_is_the_networks_own_reconstruction(family: str) -> None:
    network, x = small(family), torch.rand(1, 3, 13, 18)
    found = with_exits(network, "shared")
    padded = pad_to_multiple(x, network.pad_multiple)
    with torch.no_grad():
        shallow = network.shallow(padded)
        _, kept = network.run_trunk(shallow, (0, 1))
        expected = [network.reconstruct(kept[index], shallow, padded)[..., :26, :36] for index in (0, 1)]
        assert all(torch.equal(a, b) for a, b in zip(found(x).exits, expected, strict=True))
        assert torch.equal(found(x).final, network(x))
    assert parameter_count(found) == parameter_count(network)
    assert not list(found.exits.parameters())


def test_a_shared_exit_trains_the_network_and_follows_its_copies() -> None:
    x = torch.rand(1, 3, 8, 8)
    found = with_exits(small("edsr"), "shared")
    twin = copy.deepcopy(found)
    with torch.no_grad():
        for parameter in twin.network.parameters():
            parameter.zero_()
    mean = torch.tensor([0.4488, 0.4371, 0.4040])[:, None, None]
    assert torch.allclose(twin(x).exits[0], mean.expand(3, 16, 16), atol=1e-6)
    found(x).exits[0].square().mean().backward()
    assert all(p.grad is not None for p in (*found.network.get_submodule("tail").parameters(),))


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        (Compact(2, 8, 4), Compact(2, 8, 6)),
        (SwinIR(2, 8, 4, 2, 2), Compact(2, 8, 6)),
        (Compact(2, 8, 4), SwinIR(2, 8, 4, 2, 2)),
        (EDSR(2, 8, 4), RCAN(2, 4, 1, 8, 4)),
    ],
    ids=lambda net: net.family,
)
def test_a_borrowed_tail_stays_frozen_and_out_of_the_student(student: Network, teacher: Network) -> None:
    teacher.eval().requires_grad_(False)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    found = with_exits(student, "teacher_tail", "auto", "auto", teacher)
    assert set(found.state_dict()) == {f"network.{name}" for name in student.state_dict()}
    assert parameter_count(found) == parameter_count(student)
    optimiser = torch.optim.Adam(found.parameters(), 1e-2)
    images = found.train()(torch.rand(2, 3, 9, 13)).exits
    assert {image.shape for image in images} == {(2, 3, 18, 26)}
    torch.stack([image.square().mean() for image in images]).sum().backward()
    optimiser.step()
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())
    first = next(student.blocks[0].parameters())
    assert first.grad is not None
    assert first.grad.any()


def test_a_borrowed_tail_is_the_teachers_reconstruction() -> None:
    student, teacher, x = Compact(2, 8, 4), EDSR(2, 8, 4), torch.rand(1, 3, 9, 7)
    found = with_exits(student, "teacher_tail", "auto", "auto", teacher)
    traced = student.trace(x, (0, 1))
    expected = [teacher.reconstruct(features, traced.shallow, x) for features in traced.taps]
    assert all(torch.equal(a, b) for a, b in zip(found(x).exits, expected, strict=True))


def test_kinds_that_do_not_suit_the_networks_are_refused() -> None:
    network = Compact(2, 8, 4)
    assert "there is no teacher: set exits.kind to 'separate'" in refusal(network, DEPTHS, "teacher_tail")
    message = refusal(network, DEPTHS, "teacher_tail", "auto", "auto", Compact(2, 16, 4))
    assert "the teacher has 16 channels and the student 8: set exits.kind to 'separate'" in message


def test_spandrel_teachers_take_separate_heads() -> None:
    spandrel = pytest.importorskip("spandrel")
    from hkdsr.nets.files.spandrel import SpandrelNetwork

    net = RCAN(2, 4, 1, 16, 4)
    teacher = SpandrelNetwork(spandrel.ModelLoader().load_from_state_dict(net.state_dict()))
    found, x = with_exits(teacher), torch.rand(2, 3, 9, 14)
    images = found(x)
    assert all(torch.equal(image, imresize(x, 2.0)) for image in images.exits)
    images.exits[1].square().mean().backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad is not None and p.grad.any() for p in found.exits.parameters())
    for arguments in ((teacher, DEPTHS, "shared"), (net, DEPTHS, "teacher_tail", "auto", "auto", teacher)):
        assert "spandrel networks run only as a whole: set it to 'separate'" in refusal(*arguments)


def test_the_input_is_not_changed() -> None:
    for kind in ("separate", "shared"):
        x = torch.rand(1, 3, 9, 10)
        before = x.clone()
        with_exits(small("swinir"), kind)(x)
        assert torch.equal(x, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_under_autocast_images_keep_their_digits(family: str) -> None:
    torch.manual_seed(0)
    both = with_exits(small(family))
    x = torch.rand(1, 3, 12, 12)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        shallow = both.network.trace(x, ()).shallow
        outputs = both(x)
    assert shallow.dtype == torch.bfloat16  # autocast did something
    for image in (outputs.final, *outputs.exits):
        assert image.dtype == torch.float32
        assert (image != image.bfloat16().float()).float().mean() > 0.9
