"""Checkpoints as trainers write them: any suffix, wrapper and company; the weights are found, and no code is run."""

from __future__ import annotations

import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import basicsr_names
import numpy as np
import pytest
import torch
from hostile import command, refusal
from safetensors.torch import save_file
from torch import Tensor

import hkdsr
from hkdsr.nets import Network
from hkdsr.nets.files.load import build

PREFIXES = ("_orig_mod.", "module.", "model.", "module._orig_mod.", "_orig_mod.module.", "generator.", "net_g.", "net.")
CONTAINERS = (
    *("state_dict", "model_state_dict", "model", "params", "params_ema", "generator", "net", "net_g", "network"),
    *("ema", "ema_state_dict", "model_ema", "weights", "g_ema"),
)
SUFFIXES = (".pth.tar", ".bin", "", ".PTH", ".Pt", ".ckpt", ".pkl", ".weights")


def small() -> Network:
    return build("compact:features=4,convs=2", 2).eval()


def prefixed(network: Network, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in network.state_dict().items()}


def same(path: Path, network: Network) -> None:
    """The file's network has these weights."""
    loaded = hkdsr.load(path)
    assert loaded.family == network.family
    own = loaded.state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(own[key], value), key


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("container", ["", "state_dict"])
def test_prefixes(prefix: str, container: str, tmp_path: Path) -> None:
    state = prefixed(network := small(), prefix)
    torch.save({container: state, "epoch": 3} if container else state, tmp_path / "net.pth")
    same(tmp_path / "net.pth", network)
    save_file(state, tmp_path / "net.safetensors")
    same(tmp_path / "net.safetensors", network)


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers(container: str, tmp_path: Path) -> None:
    content = {"epoch": 3, "optimizer": {"state": {}, "param_groups": []}, container: (network := small()).state_dict()}
    torch.save(content, tmp_path / "net.pth")
    same(tmp_path / "net.pth", network)


def test_averaged_weights_are_taken_before_the_last_ones(tmp_path: Path) -> None:
    last, averaged = small(), small()
    for one, other in (("params", "params_ema"), ("state_dict", "ema"), ("model", "model_ema"), ("g", "g_ema")):
        torch.save({one: last.state_dict(), other: averaged.state_dict()}, tmp_path / "net.pth")
        same(tmp_path / "net.pth", averaged)


def test_an_averaged_model_counts_its_averages(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(network := small())
    torch.save(averaged.state_dict(), tmp_path / "net.pth")
    same(tmp_path / "net.pth", network)


def test_a_container_in_a_container(tmp_path: Path) -> None:
    network = small()
    torch.save({"model": {"state_dict": prefixed(network, "module.")}, "args": {"lr": 1}}, tmp_path / "net.pth")
    same(tmp_path / "net.pth", network)


def test_lightning_keeps_losses_and_metrics_beside_the_network(tmp_path: Path) -> None:
    network = small()
    state = prefixed(network, "model.") | {"loss.vgg.weight": torch.zeros(3), "metric.total": torch.tensor(1)}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.4", "loops": {}}, tmp_path / "net.ckpt")
    same(tmp_path / "net.ckpt", network)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_suffixes(suffix: str, tmp_path: Path) -> None:
    torch.save((network := small()).state_dict(), tmp_path / f"net{suffix}")
    same(tmp_path / f"net{suffix}", network)


@pytest.mark.parametrize("suffix", [".SAFETENSORS", ".bin", ".pth", ""])
def test_safetensors_under_other_suffixes(suffix: str, tmp_path: Path) -> None:
    hkdsr.save(network := small(), tmp_path / "net.safetensors")
    os.rename(tmp_path / "net.safetensors", tmp_path / f"net{suffix}")
    same(tmp_path / f"net{suffix}", network)


def test_onnx_in_upper_case(tmp_path: Path) -> None:
    import onnx_files

    os.rename(onnx_files.written(tmp_path, onnx_files.times(1)), tmp_path / "NET.ONNX")
    assert hkdsr.load(tmp_path / "NET.ONNX").scale == 2


COMPANY: dict[str, Any] = {
    "numpy scalar": np.float64(31.4),
    "numpy whole number": np.int64(3),
    "numpy array": np.arange(4),
    "namespace": argparse.Namespace(lr=1e-4, name="edsr"),
    "path": Path("runs"),
    "random state": np.random.default_rng(0).bit_generator.state,
    "class of its own": pickle.PicklingError,
    "ordered": OrderedDict(a=1),
    "set": {1, 2},
    "partial": Ellipsis,
}


@pytest.mark.parametrize("name", COMPANY)
def test_what_lies_beside_the_weights_is_passed_over(name: str, tmp_path: Path) -> None:
    torch.save({"state_dict": (network := small()).state_dict(), "beside": COMPANY[name]}, tmp_path / "net.pth")
    same(tmp_path / "net.pth", network)
    torch.save({"a": [COMPANY[name]], "state_dict": network.state_dict()}, tmp_path / "old.pth")
    same(tmp_path / "old.pth", network)


class Payload:
    """Makes a file when it is unpickled by the usual means."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("legacy", [False, True])
def test_no_code_is_run(legacy: bool, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    content = {"state_dict": small().state_dict(), "args": argparse.Namespace(trap=Payload(marker))}
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
    command("info", tmp_path / "net.pth")
    assert not marker.exists()
    torch.save(Payload(marker), tmp_path / "evil.pth", _use_new_zipfile_serialization=not legacy)
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Payload(marker), protocol=2))
    for file in ("evil.pth", "raw.pth"):
        assert file in refusal(lambda file=file: hkdsr.load(tmp_path / file))
    assert not marker.exists()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("description", "names"),
    [
        ("edsr:features=8,blocks=3", basicsr_names.EDSR),
        ("rcan:groups=2,blocks=2,features=16,reduction=4", basicsr_names.RCAN),
    ],
    ids=["edsr", "rcan"],
)
def test_the_names_of_basicsr(description: str, names: list[tuple[str, str]], scale: int, tmp_path: Path) -> None:
    network = build(description, scale).eval()
    torch.save({"params": basicsr_names.renamed(network.state_dict(), names)}, tmp_path / "net.pth")
    same(tmp_path / "net.pth", network)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_msrresnet_of_basicsr(scale: int, tmp_path: Path) -> None:
    module = basicsr_names.far_from_zero(basicsr_names.MSRResNet(scale))
    torch.save({"params": module.state_dict()}, tmp_path / "net.pth")
    network = hkdsr.load(tmp_path / "net.pth")
    assert network.scale == scale
    x = torch.rand(1, 3, 9, 11)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), module(x))


@pytest.mark.parametrize("prefix", ["", *PREFIXES[:4]])
@pytest.mark.parametrize(
    ("container", "suffix"), [("model_state_dict", ".pth"), ("", ".pth.tar"), ("generator", ".bin")]
)
def test_the_same_holds_for_spandrels_networks(prefix: str, container: str, suffix: str, tmp_path: Path) -> None:
    esrgan = pytest.importorskip("spandrel.architectures.ESRGAN")
    module = basicsr_names.far_from_zero(esrgan.ESRGAN(num_filters=8, num_blocks=1, scale=2))
    state = {f"{prefix}{key}": value for key, value in module.state_dict().items()}
    path = tmp_path / f"net{suffix}"
    torch.save({container: state, "best": np.float64(3)} if container else state, path)
    x = torch.rand(1, 3, 12, 16)
    with torch.inference_mode():
        torch.testing.assert_close(hkdsr.load(path)(x), module(x))


def test_a_x8_network_gets_a_remedy_that_can_be_carried_out(tmp_path: Path) -> None:
    state = build("edsr:features=8,blocks=2", 4).state_dict()
    for kind in ("weight", "bias"):
        state[f"tail.0.4.{kind}"] = state[f"tail.0.2.{kind}"].clone()
    torch.save(state, tmp_path / "net.pth")
    sentence = refusal(lambda: hkdsr.load(tmp_path / "net.pth"))
    assert "x8" in sentence
    assert "give a checkpoint of x2, x3 or x4" in sentence
    assert "set it to" not in sentence


def test_a_checkpoint_without_a_network_names_what_it_holds(tmp_path: Path) -> None:
    torch.save({"optimizer": {"state": {}, "param_groups": []}, "epoch": 3}, tmp_path / "net.pth")
    assert "optimizer" in refusal(lambda: hkdsr.load(tmp_path / "net.pth"))
