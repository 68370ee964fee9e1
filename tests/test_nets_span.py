"""SPAN: our files through spandrel and back, published forms of its convolutions, and its plain variant."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny
import torch
from small import crops, pth, refusal, scattered, small
from torch import Tensor, nn

from hkdsr.methods import Plain
from hkdsr.nets.base import parameter_count
from hkdsr.nets.families.span import SPAN
from hkdsr.nets.files.load import build, digest, load, save
from hkdsr.nets.start.prune.cut import fill
from hkdsr.nets.start.prune.families import wiring
from hkdsr.training.run import distill

LR = torch.rand(2, 3, 19, 27, generator=torch.Generator().manual_seed(0))


def shaken(description: str, scale: int) -> SPAN:
    """A network whose every weight counts in the image."""
    network = build(description, scale).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * parameter.abs().mean() * torch.randn_like(parameter) + 0.01)
    assert isinstance(network, SPAN)
    return network


def theirs(scale: int, norm: bool) -> nn.Module:
    """A random SPAN of spandrel, whose chains and stale fused convolutions are as after a training."""
    published = pytest.importorskip("spandrel.architectures.SPAN").SPAN
    return published(num_in_ch=3, num_out_ch=3, feature_channels=12, upscale=scale, norm=norm)


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-5 * max(1, float(expected.abs().max())))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("norm", [0, 1])
def test_spandrel_reads_our_files_and_computes_the_same(scale: int, norm: int, tmp_path: Path) -> None:
    spandrel = pytest.importorskip("spandrel")
    network, file = shaken(f"span:features=12,norm={norm}", scale), tmp_path / "net.safetensors"
    for half in (False, True):
        save(network, file, half=half)
        descriptor = spandrel.ModelLoader().load_from_file(file).eval()
        assert (descriptor.architecture.id, descriptor.scale) == ("SPAN", scale)
        with torch.no_grad():
            assert close(load(file)(LR), descriptor.model(LR.clone()))
            if not half:
                assert close(network(LR), descriptor.model(LR.clone()))
    if not half:
        assert digest(load(file).state_dict()) == digest(network.state_dict())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("norm", [False, True])
def test_published_files_load_and_compute_what_spandrel_computes(scale: int, norm: bool, tmp_path: Path) -> None:
    published = theirs(scale, norm)
    network = load(pth(tmp_path, {"params": published.state_dict()}))
    assert network.settings == {"scale": scale, "features": 12, "blocks": 6, "attention": 1, "norm": int(norm)}
    with torch.no_grad():
        assert close(network(LR), published.eval()(LR.clone()))
        # And what is saved after that is the network that was loaded.
        save(network, tmp_path / "net.safetensors")
        assert torch.equal(load(tmp_path / "net.safetensors")(LR), network(LR))


def test_files_that_hold_only_fused_convolutions_load(tmp_path: Path) -> None:
    network = shaken("span:features=6,blocks=2", 2)
    state = {
        name: value for name, value in network.public_state().items() if ".sk." not in name and ".conv." not in name
    }
    again = load(pth(tmp_path, state))
    assert digest(again.state_dict()) == digest(network.state_dict())


def test_a_broken_chain_is_named(tmp_path: Path) -> None:
    state = small("span").public_state()
    broken = "span network but lacks a weight or has one of another shape: copy it again"
    for name in ("conv_1.conv.0.weight", "block_2.c1_r.conv.1.bias", "block_1.c3_r.sk.bias", "conv_2.sk.weight"):
        without = {key: value for key, value in state.items() if key != name}
        for content in (without, {**state, name: torch.ones(2, 2)}, {**state, name: torch.tensor(1.0)}):
            message = refusal(lambda content=content: load(pth(tmp_path, content)))
            assert broken in message or "does not match the network span" in message


def test_the_plain_variant_is_not_taken_for_another_network(tmp_path: Path) -> None:
    spandrel = pytest.importorskip("spandrel")
    network, file = shaken("span:features=12,attention=0", 2), tmp_path / "net.safetensors"
    save(network, file)
    assert load(file).settings == network.settings
    with torch.no_grad():
        assert torch.equal(load(file)(LR), network(LR))
    with pytest.raises(spandrel.UnsupportedModelError):
        spandrel.ModelLoader().load_from_file(file)


@pytest.mark.parametrize("attention", [0, 1])
def test_the_definition(attention: int) -> None:
    """A plain restatement in float64, with every weight far from zero."""
    network = scattered(f"span:features=4,blocks=3,norm=1,attention={attention}")
    x = LR.double()
    convs = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    with torch.no_grad():
        shallow = convs["conv_1"]((x - torch.tensor([0.4488, 0.4371, 0.4040])[:, None, None]) * 255)
        features, outputs, opened = shallow, [], shallow
        act = nn.functional.silu if attention else nn.LeakyReLU(0.1)
        for name in ("block_1", "block_2", "block_3"):
            opened = act(convs[f"{name}.c1_r"](features))
            refined = convs[f"{name}.c3_r"](act(convs[f"{name}.c2_r"](opened)))
            features = (refined + features) * (refined.sigmoid() - 0.5) if attention else act(refined)
            outputs.append(features)
        joined = torch.cat([shallow, convs["conv_2"](features), outputs[0], opened], dim=1)
        expected = nn.functional.pixel_shuffle(convs["upsampler.0"](convs["conv_cat"](joined)), 2)
        if not attention:
            expected = expected + nn.functional.interpolate(x, scale_factor=2, mode="nearest")
        torch.testing.assert_close(network(x), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
        assert torch.equal(network.trace(x, (0, 2)).taps[1], features)


def test_parameters_are_those_that_the_published_network_deploys() -> None:
    published = pytest.importorskip("spandrel.architectures.SPAN").SPAN(num_in_ch=3, num_out_ch=3)
    deployed = [p for name, p in published.named_parameters() if ".sk." not in name and ".conv." not in name]
    expected = sum(parameter.numel() for parameter in deployed)
    assert parameter_count(build("span", 4)) == parameter_count(build("span:attention=0", 4)) == expected == 426_288


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("settings", ["norm=0", "norm=1", "attention=0"])
def test_it_starts_near_the_upsampled_image(settings: str, scale: int) -> None:
    images = crops().float()
    with torch.no_grad():
        start = build(f"span:features=24,{settings}", scale)(images)
    nearest = nn.functional.interpolate(images, scale_factor=scale, mode="nearest")
    assert (start - nearest).square().mean().sqrt() < 0.1 * nearest.std()


def test_the_plain_variant_is_wired_for_pruning() -> None:
    """The networks of the other tests have attention, which ties the blocks' channels to one another."""
    description = "span:features=6,blocks=3,attention=0"
    teacher, student = scattered(description), build(description, 2).double().eval()
    wires = wiring(teacher)
    bases = {}
    for group in wires.groups:
        basis = torch.eye(group.size, dtype=torch.float64)
        inner = group.size == teacher.channels  # not the colours, nor the image before its shuffle
        bases[group] = basis[:, torch.randperm(group.size)] if inner else basis
    fill(wiring(student), wires, bases)
    with torch.no_grad():
        torch.testing.assert_close(student(LR.double()), teacher(LR.double()))


def test_wrong_settings_are_named() -> None:
    assert "attention is 2: set it to 0 or 1" in refusal(lambda: build("span:attention=2", 2))
    assert "norm is -1: set it to 0 or 1" in refusal(lambda: build("span:norm=-1", 2))
    assert "blocks is 0: set it to 1 or more" in refusal(lambda: build("span:blocks=0", 2))


def test_the_student_of_a_reparameterised_training_loads_in_spandrel(tmp_path: Path) -> None:
    spandrel = pytest.importorskip("spandrel")
    recipe = dataclasses.replace(tiny.recipe(tmp_path, Plain(), reparameterise=True), student="span:features=8")
    student = distill(recipe)
    descriptor = spandrel.ModelLoader().load_from_file(student.weights).eval()
    with torch.no_grad():
        assert close(student.network(LR), descriptor.model(LR.clone()))
