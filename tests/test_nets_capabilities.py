"""What a network says it can do, it does; what it says it cannot, it refuses with a remedy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import ncnn_files
import pytest
import torch
from small import SMALL, refusal, small
from torch import Tensor

from hkdsr.nets import FAMILIES, Network, parameter_count
from hkdsr.nets.base import pad_to_multiple
from hkdsr.nets.exits import Exits
from hkdsr.nets.files.load import digest, load, save
from hkdsr.nets.stages import tapped


def from_spandrel() -> Network:
    """A small network of an architecture that this package does not have."""
    spandrel = pytest.importorskip("spandrel")
    from spandrel.architectures.PLKSR import RealPLKSR

    from hkdsr.nets.files.spandrel import SpandrelNetwork

    net = RealPLKSR(dim=16, n_blocks=4, upscaling_factor=2)
    return SpandrelNetwork(spandrel.ModelLoader().load_from_state_dict(net.state_dict()), "plksr.pth")


@lru_cache
def exported(name: str, package: str) -> dict[str, bytes]:
    pytest.importorskip(package)
    from hkdsr.deploy.formats import FORMATS

    return FORMATS[name].write(small("compact"))


def from_files(name: str, package: str) -> Network:
    from hkdsr.deploy.formats import FORMATS

    with TemporaryDirectory() as folder:
        for suffix, content in exported(name, package).items():
            Path(folder, f"net{suffix}").write_bytes(content)
        return load(Path(folder, f"net{FORMATS[name].suffix}"))


def from_ncnn() -> Network:
    with TemporaryDirectory() as folder:
        return load(ncnn_files.residual(blocks=4).written(Path(folder)))


NETWORKS: dict[str, Callable[[], Network]] = {
    **{family: lambda family=family: small(family) for family in SMALL if family in FAMILIES},
    "spandrel": from_spandrel,
    "onnx": lambda: from_files("onnx", "onnxruntime"),
    "openvino": lambda: from_files("openvino", "openvino"),
    "ncnn": from_ncnn,
}
EVERY = frozenset(NETWORKS)
SESSIONS = {"onnx", "openvino"}
OPAQUE = {"spandrel", "ncnn"} | SESSIONS

CAPABLE = {
    "trainable": EVERY - OPAQUE,
    "runs_in_parts": EVERY - OPAQUE,
    "runs_in_pytorch": EVERY - SESSIONS,
    "joins_blocks": {"bsrn", "imdn", "span"},
}
UPSAMPLER_EXITS = {"edsr", "msrresnet", "rcan", "swinir"}
TAPPABLE = EVERY - SESSIONS

pytestmark = pytest.mark.parametrize("name", NETWORKS)


def test_the_table(name: str) -> None:
    network = NETWORKS[name]()
    assert {capability: getattr(network, capability) for capability in CAPABLE} == {
        capability: name in capable for capability, capable in CAPABLE.items()
    }
    assert network.exit_tail == ("upsampler" if name in UPSAMPLER_EXITS else "shuffle")
    assert bool(network.blocks) == (name in TAPPABLE)


def test_trainable_networks_learn_and_are_saved(name: str, tmp_path: Path) -> None:
    network, file = NETWORKS[name](), tmp_path / "net.safetensors"
    if not network.trainable:
        assert "use their original file" in refusal(lambda: save(network, file))
        assert not any(parameter.requires_grad for parameter in network.parameters())
        return
    save(network, file)
    assert digest(load(file).state_dict()) == digest(network.state_dict())
    network.train()(torch.rand(1, 3, 16, 16)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_parts_together_are_the_whole(name: str) -> None:
    network, x = NETWORKS[name](), torch.rand(1, 3, 11, 14)
    padded = pad_to_multiple(x, network.pad_multiple)
    parts: tuple[Callable[[], object], ...] = (
        lambda: network.shallow(padded),
        lambda: network.run_trunk(padded, ()),
        lambda: network.reconstruct(padded, padded, padded),
    )
    if not network.runs_in_parts:
        assert all("runs only as a whole: choose" in refusal(part) for part in parts)
        return
    with torch.no_grad():
        shallow = network.shallow(padded)
        deep, _ = network.run_trunk(shallow, ())
        assert torch.equal(network.reconstruct(deep, shallow, padded)[..., :22, :28], network(x))


def test_networks_in_pytorch_are_copied(name: str) -> None:
    network = NETWORKS[name]()
    if not network.runs_in_pytorch:
        assert "use the weights that it was exported from" in refusal(lambda: copy.deepcopy(network))
        assert parameter_count(network) == 0
        return
    x, twin = torch.rand(1, 3, 12, 12), copy.deepcopy(network).requires_grad_(False)
    before = network(x)
    for parameter in twin.parameters():
        parameter.zero_()
    assert torch.equal(network(x), before)
    assert not torch.equal(twin(x), before)


def test_fused_blocks_reach_the_image_past_the_last_block(name: str) -> None:
    """If the last block's output is fixed, earlier blocks matter only where all outputs are fused."""
    network, x = NETWORKS[name](), torch.rand(1, 3, 16, 16)
    if not network.runs_in_parts:
        assert not network.joins_blocks
        return
    first, *_, last = network.blocks
    last.register_forward_hook(lambda module, inputs, output: torch.ones_like(inputs[0]))
    before = network(x)
    first.register_forward_hook(lambda module, inputs, output: inputs[0] + 1)
    assert torch.equal(network(x), before) != network.joins_blocks


def test_counted_modules_run_once_and_hold_the_network(name: str) -> None:
    network, calls = NETWORKS[name](), []
    if not network.runs_in_pytorch:
        return
    for module in network.counted:
        module.register_forward_hook(lambda module, inputs, output: calls.append((module, inputs[0].shape)))
    network(torch.rand(2, 3, 16, 16))
    assert [module for module, _ in calls] == list(network.counted)
    assert {(len(shape), shape[0], *shape[2:]) for _, shape in calls} == {(4, 2, 16, 16)}


def test_taps_and_exits(name: str) -> None:
    network, x = NETWORKS[name](), torch.rand(2, 3, 9, 14)
    if not network.blocks:
        assert "choose a method that compares images only" in refusal(lambda: network.tap_index(1.0))
        assert "choose a method that compares images only" in refusal(lambda: Exits(network, (0.5,)))
        assert torch.equal(network.trace(x, ()).shallow, x)
        return
    taps = [network.tap_index(depth) for depth in (0.25, 0.5, 1.0)]
    assert taps == [0, 1, 3]
    traced = network.trace(x, taps)
    found: list[Tensor] = tapped(network, x, taps)
    assert all(torch.equal(*pair) for pair in zip(traced.taps, found, strict=True))
    assert {tap.shape[:2] for tap in (traced.shallow, *traced.taps)} == {(2, network.channels)}
    exits = Exits(network, (0.25, 0.5))
    images = exits(x, network.trace(x, exits.taps), 2)
    assert [image.shape for image in images] == 2 * [(2, 3, 18, 28)]
