"""Pairs of ncnn files run in PyTorch, without ncnn, as ncnn runs them."""

from __future__ import annotations

import copy
import dataclasses
import sys
from pathlib import Path

import ncnn_files
import pytest
import tiny
import torch
import torch.nn.functional as F
from ncnn_files import FLOAT16, FLOAT32, Pair, decibels, drawn
from small import small
from torch import Tensor

import hkdsr
from hkdsr.cli.info import tap_table
from hkdsr.methods import FAKD, HKDSR
from hkdsr.nets import Network
from hkdsr.nets.files.load import digest, load
from hkdsr.nets.files.ncnn.graph import Graph, read_graph
from hkdsr.scoring import cost
from hkdsr.training.run import distill

ALIKE = 70
"""dB."""


def graph_of(pair: Pair) -> Graph:
    return read_graph(pair.text.encode(), bytes(pair.weights), "net.param", "net.bin")


def one(kind: str, settings: str = "", inputs: str = "data") -> Pair:
    return Pair().layer(kind, inputs, "output", settings)


def two(kind: str, settings: str = "", second: str = "half") -> Pair:
    """A layer of the image and of a blob of half its values, or half its size."""
    pair = Pair().layer("Split", "data", "a b")
    if second == "half":
        pair.layer("BinaryOp", "a", "half", "0=2 1=1 2=0.5")
    else:
        pair.layer("Interp", "a", "small", "0=1 1=0.5 2=0.5")
    return pair.layer(kind, f"b {second}", "output", settings)


def weighted(kind: str, settings: str, *shape: int, bias: int) -> Pair:
    more = f"0={bias} 5=1 6={torch.Size(shape).numel()} {settings}"
    return Pair().layer(kind, "data", "output", more).tagged(drawn(*shape)).plain(drawn(bias))


def sliced(settings: str) -> Pair:
    return Pair().layer("Slice", "data", "x y", settings).layer("Concat", "y x", "output", "0=0")


def shuffled(mode: int) -> Pair:
    return Pair().layer("Reorg", "data", "x", f"0=2 1={mode}").layer("PixelShuffle", "x", "output", f"0=2 1={1 - mode}")


def pooled(settings: str) -> Pair:
    pair = Pair().layer("Split", "data", "a b").layer("Pooling", "a", "x", settings)
    return pair.layer("BinaryOp", "b x", "output", "0=2")


LAYERS = {
    **{
        f"activation {k}": one(k)
        for k in ("Sigmoid", "Swish", "TanH", "HardSigmoid", "HardSwish", "Mish", "GELU", "Noop")
    },
    "gelu, fast": one("GELU", "0=1"),
    "relu": one("ReLU"),
    "leaky relu": Pair().layer("BinaryOp", "data", "x", "0=1 1=1 2=0.5").layer("ReLU", "x", "output", "0=0.1"),
    "clip": one("Clip", "0=0.25 1=0.5"),
    "prelu": one("PReLU", "0=3").plain(drawn(3)),
    "prelu of one slope": one("PReLU", "0=1").plain(drawn(1)),
    **{f"binary {n}": two("BinaryOp", f"0={n}") for n in range(10)},
    **{f"binary {n} with a number": one("BinaryOp", f"0={n} 1=1 2=0.75") for n in range(10)},
    **{f"unary {n}": one("UnaryOp", f"0={n}") for n in (*range(13), 14, 15, 16, 17, 18, 19)},
    **{f"eltwise {n}": two("Eltwise", f"0={n}") for n in range(3)},
    "eltwise with factors": two("Eltwise", "0=1 -23301=2,0.25,2.0"),
    "memory": Pair().layer("MemoryData", "", "m", "0=1 1=1 2=3").layer("BinaryOp", "data m", "output").plain(drawn(3)),
    "concat": two("Concat", "0=0"),
    "concat of rows": two("Concat", "0=1"),
    "slice": sliced("-23300=2,1,-233 1=0"),
    "slice of columns": sliced("-23300=2,-233,-233 1=2"),
    "crop": one("Crop", "0=2 1=1 3=9 4=8 5=-233"),
    "crop to another": two("Crop", "0=1 1=2", "small"),
    "crop from to": one("Crop", "-23309=2,1,2 -23310=2,-2,-233 -23311=2,1,2"),
    "padding": one("Padding", "0=1 1=2 2=3 3=0 4=0 5=0.5"),
    "padding, replicated": one("Padding", "0=1 1=2 2=3 3=0 4=1"),
    "padding, reflected": one("Padding", "0=1 1=2 2=3 3=0 4=2"),
    **{f"interp {n} larger": one("Interp", f"0={n} 1=2.0 2=3.0") for n in (1, 2, 3)},
    **{f"interp {n} smaller": one("Interp", f"0={n} 1=7.5e-01 2=7.5e-01") for n in (1, 2, 3)},
    "interp aligned": one("Interp", "0=2 1=2.0 2=2.0 6=1"),
    "interp to a size": one("Interp", "0=2 3=20 4=30"),
    "interp to another": two("Interp", "0=2 5=1", "small"),
    "shuffle": shuffled(0).layer("Noop", "output", "out"),
    "unshuffle": one("Reorg", "0=2"),
    "unshuffle, colours last": one("Reorg", "0=2 1=1"),
    "shuffle, colours last": Pair()
    .layer("Reorg", "data", "x", "0=2 1=1")
    .layer("PixelShuffle", "x", "output", "0=2 1=1"),
    "max pooling": one("Pooling", "0=0 1=7 11=5 2=3 12=2 5=1"),
    "max pooling, rounded up": one("Pooling", "0=0 1=2 2=2 5=0"),
    "average pooling": one("Pooling", "0=1 1=2 2=2 5=1"),
    "pooled to a point": pooled("0=1 4=1"),
    "pooled to the largest": pooled("0=0 4=1"),
    "reduction": Pair()
    .layer("Split", "data", "a b")
    .layer("Reduction", "a", "m", "0=3 1=0 -23303=2,1,2 4=1 5=1")
    .layer("BinaryOp", "b m", "output", "0=1"),
    "tile": Pair().layer("Tile", "data", "output", "-23302=3,4,1,1"),
    **{f"fused {n}": weighted("Convolution", f"1=3 4=1 9={n} -23310=2,0.2,0.5", 5, 3, 3, 3, bias=5) for n in range(7)},
    "uneven padding": weighted("Convolution", "1=3 4=0 15=2 14=1 16=2", 5, 3, 3, 3, bias=5),
    "strided": weighted("Convolution", "1=3 11=5 3=2 13=1 2=1 12=2 4=1 14=4", 5, 3, 5, 3, bias=5),
    "depthwise": weighted("ConvolutionDepthWise", "1=3 4=1 7=3", 6, 1, 3, 3, bias=6),
    "deconvolution": weighted("Deconvolution", "1=4 3=2 4=1", 5, 3, 4, 4, bias=5),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_give_what_ncnn_gives(layer: str, tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    from hkdsr.deploy.formats.ncnn_session import session

    path = LAYERS[layer].written(tmp_path)
    x = 0.1 + 0.8 * torch.rand(1, 3, 14, 18)
    expected = session(str(path), str(path.with_suffix(".bin")), 1)(x.numpy())
    made = graph_of(LAYERS[layer])(x)
    assert isinstance(made, Tensor)
    assert made.shape == expected.shape
    assert decibels(made, expected) > ALIKE


@pytest.mark.parametrize("tag", [FLOAT16, FLOAT32])
def test_a_network_gives_what_ncnn_gives(tag: int, tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    from hkdsr.deploy.formats.ncnn_runtime import NcnnRuntimeNetwork

    path = ncnn_files.residual(tag=tag).written(tmp_path)
    network, other = load(path), NcnnRuntimeNetwork(path)
    x = torch.rand(2, 3, 21, 30)
    with torch.no_grad():
        assert decibels(network(x), other(x).numpy()) > ALIKE


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    return ncnn_files.residual().written(tmp_path_factory.mktemp("ncnn"))


def test_a_network_is_its_layers_without_ncnn(residual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    network = load(residual)
    assert (network.family, network.scale, network.trainable) == ("ncnn", 2, False)
    convs = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    x = torch.rand(1, 3, 11, 15)
    features = F.conv2d(x, convs[0].weight, convs[0].bias, padding=1)
    for first, second in zip(convs[1:-1:2], convs[2:-1:2], strict=True):
        inner = F.leaky_relu(F.conv2d(features, first.weight, first.bias, padding=1), 0.2)
        features = features + 0.25 * F.conv2d(inner, second.weight, second.bias, padding=1)
    large = F.pixel_shuffle(F.conv2d(features, convs[-1].weight, convs[-1].bias, padding=1), 2)
    torch.testing.assert_close(network(x), large + x.repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_blocks_are_found_and_tapped(residual: Path) -> None:
    network = load(residual)
    assert (len(network.blocks), network.channels) == (3, 4)
    assert [line.split()[-1] for line in tap_table(network)][2:] == 3 * ["4x64x64"]
    x = torch.rand(2, 3, 13, 17)
    traced = network.trace(x, (0, 2))
    assert torch.equal(traced.sr, network(x))
    assert [tap.shape for tap in (traced.shallow, *traced.taps)] == 3 * [(2, 4, 13, 17)]
    assert not torch.equal(*traced.taps)
    assert cost(network).exact
    assert torch.equal(copy.deepcopy(network)(x), network(x))


@pytest.mark.parametrize("method", [FAKD(), HKDSR()])
def test_it_teaches_by_its_features(method: FAKD | HKDSR, residual: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, method, steps=2)
    done = distill(dataclasses.replace(recipe, teacher=str(residual)))
    assert done.network.family == "compact"


def test_a_compact_network_is_one_of_the_family(tmp_path: Path) -> None:
    network = small("compact", 3)
    found = load(ncnn_files.of_compact(network).written(tmp_path))  # pyright: ignore[reportArgumentType]
    assert found.settings == network.settings
    assert digest(found.state_dict()) == digest(network.state_dict())


@pytest.mark.parametrize("change", ["0=0 1=1 2=0.1", "0=2 1=1 2=0.9"])
def test_nearly_a_compact_network_is_a_graph(change: str, tmp_path: Path) -> None:
    network = small("compact")
    pair = ncnn_files.of_compact(network)  # pyright: ignore[reportArgumentType]
    found: Network = load(pair.layer("BinaryOp", "output", "changed", change).written(tmp_path))
    assert found.family == "ncnn"
    x = torch.rand(1, 3, 9, 9)
    expected = network(x) + 0.1 if change.startswith("0=0") else 0.9 * network(x)
    torch.testing.assert_close(found(x), expected)


def test_it_is_exported(residual: Path, tmp_path: Path) -> None:
    for needed in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(needed)
    images = sorted(tiny.photographs(tmp_path / "images", 1).iterdir())
    assert hkdsr.export(load(residual), tmp_path / "net.onnx", images, allow_weak=True).kept


def test_it_upscales(residual: Path, tmp_path: Path) -> None:
    image = hkdsr.upscale(residual, next(tiny.photographs(tmp_path / "images", 1).iterdir()))
    assert image.shape == (112, 132, 3)
