"""Re-parameterised training: the chain equals the convolution, and files never hold it."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from small import SMALL, crops, scattered, small
from torch import Tensor

from hkdsr.methods import HKDSR, Logits
from hkdsr.nets.base import Network, parameter_count
from hkdsr.nets.files.load import build, load
from hkdsr.nets.reparam import ExpandedKernel, expand, fused, product
from hkdsr.settings.recipe import TrainRecipe
from hkdsr.training.checkpoint import FILE
from hkdsr.training.run import distill, train

EXPANDED = ("compact", "edsr", "imdn", "rcan", "rlfn", "span")


def trained(network: Network) -> Network:
    """``network`` expanded, and every part of its chains moved."""
    expand(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * parameter.abs().mean() * torch.randn_like(parameter))
    return network


def layers(outputs: int, inputs: int, wide: int, inner: int) -> list[Tensor]:
    """The weights of a chain and of the convolution beside it, in float64, to be trained."""
    shapes = ((wide, inputs), (inner, wide, 3, 3), (outputs, inner), (outputs, inputs))
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@given(*[st.integers(1, 6)] * 4)
def test_the_product_computes_what_the_layers_compute(outputs: int, inputs: int, wide: int, inner: int) -> None:
    first, middle, last, beside = layers(outputs, inputs, wide, inner)
    x = torch.randn(2, inputs, 6, 5, dtype=torch.float64)
    chained = F.conv2d(F.conv2d(F.conv2d(x, first[..., None, None]), middle, padding=1), last[..., None, None])
    expected = chained + F.conv2d(x, beside[..., None, None])
    found = F.conv2d(x, product(first, middle, last, beside), padding=1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_every_part_of_the_chain_has_a_gradient() -> None:
    assert torch.autograd.gradcheck(product, layers(2, 2, 3, 4))
    network = small("compact")
    expand(network)
    network(crops().float()).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("family", EXPANDED)
def test_expanding_keeps_the_images_and_fusing_gives_the_weights_back(family: str) -> None:
    network = scattered(SMALL[family])
    expanded = copy.deepcopy(network)
    expand(expanded)
    assert parameter_count(expanded) > parameter_count(network)
    x = crops()
    with torch.no_grad():
        expected = network(x)
        assert (expanded(x) - expected).abs().max() <= 1e-10 * expected.abs().max()
    plain = fused(expanded).state_dict()
    assert plain.keys() == network.state_dict().keys()
    for name, weight in network.state_dict().items():
        assert torch.equal(plain[name], weight)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
@pytest.mark.parametrize("family", EXPANDED)
def test_a_trained_network_is_fused_without_loss(family: str, dtype: torch.dtype, tolerance: float) -> None:
    network = trained(small(family).to(dtype))
    plain = fused(network)
    assert type(plain) is type(network)
    assert {name: p.shape for name, p in plain.named_parameters()} == {
        name: p.shape for name, p in small(family).named_parameters()
    }
    x = crops().to(dtype)
    with torch.no_grad():
        assert (plain(x) - network(x)).abs().max() <= tolerance
        for depth in (0.25, 1.0):
            taps = (network.tap_index(depth),)
            own, other = plain.trace(x, taps).taps[0], network.trace(x, taps).taps[0]
            assert (own - other).abs().max() <= tolerance * max(1, float(other.abs().max()))


def test_a_network_without_chains_is_left_alone() -> None:
    network = small("compact")
    assert fused(network) is network


def test_the_kernel_stays_exact_under_autocast() -> None:
    chain = [weight.float() for weight in layers(3, 3, 3, 3)]
    first, middle, last, beside = chain
    with torch.autocast("cpu", torch.bfloat16):
        found, rough = ExpandedKernel()(*chain), product(first, middle, last, beside)
    expected = product(first, middle, last, beside)
    assert torch.equal(found, expected)
    assert not torch.equal(rough.float(), expected)


@pytest.mark.parametrize("student", ["compact:features=4,convs=4", "span:features=4,blocks=4"])
def test_the_files_of_a_training_hold_plain_networks(student: str, tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny.recipe(tmp_path, HKDSR(), reparameterise=True), student=student)
    result = distill(recipe)
    plain, checkpoint = build(student, 2), torch.load(recipe.out / FILE, weights_only=True)
    assert any("parametrizations" in name for name in checkpoint["model"])
    again = load(recipe.out / "student.safetensors")
    assert again.settings == plain.settings
    assert again.state_dict().keys() == result.network.state_dict().keys() == plain.state_dict().keys()
    x = crops().float()
    with torch.no_grad():
        assert torch.equal(again(x), result.network(x))
    assert not torch.equal(again(x), plain.eval()(x))


def test_a_killed_training_goes_on_exactly(tmp_path: Path) -> None:
    whole = tiny.recipe(tmp_path, Logits(), reparameterise=True)
    parts = dataclasses.replace(whole, out=tmp_path / "parts")
    distill(dataclasses.replace(parts, training=dataclasses.replace(parts.training, minutes=0)))
    own, other = distill(whole).network.state_dict(), distill(parts).network.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)


def test_training_starts_from_a_slice_or_another_student(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), reparameterise=True, steps=0)
    teacher = tiny.teacher(tmp_path / "wide.safetensors", "compact:features=8,convs=4")
    first = distill(dataclasses.replace(recipe, teacher=str(teacher), init="slice")).network.state_dict()
    for name, weight in load(teacher).state_dict().items():
        cut = tuple(slice(size) for size in first[name].shape)
        assert torch.equal(first[name], weight[cut])
    again = TrainRecipe(
        student=recipe.student,
        out=tmp_path / "again",
        init="student",
        init_from=recipe.out / "student.safetensors",
        data=recipe.data,
        training=recipe.training,
    )
    second = train(again).network.state_dict()
    assert all(torch.equal(second[name], first[name]) for name in first)
