"""Every format: its file opens again, draws the same images, and is as the programs that read it expect."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from small import refusal, small

from hkdsr.deploy.export import export
from hkdsr.deploy.formats import FORMATS, Files
from hkdsr.deploy.formats.ncnn import NCNN
from hkdsr.deploy.formats.safetensors import READ_BY_SPANDREL
from hkdsr.nets import Network
from hkdsr.nets.files.load import build, load

NEEDED = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "ncnn": "pnnx",
    "safetensors": "spandrel",
    "pth": "spandrel",
    "web": "onnxruntime",
}
PLAIN_LAYERS = {"Input", "Split", "Convolution", "PReLU", "PixelShuffle", "Interp", "BinaryOp"}
COMPACT = "compact:features=8,convs=2"
BY_SPANDREL = """
import sys, numpy, spandrel, torch
x = torch.from_numpy(numpy.load(sys.argv[1]))
for file in sys.argv[2:]:
    with torch.no_grad():
        numpy.save(file + ".npy", spandrel.ModelLoader().load_from_file(file).eval()(x.clone()).numpy())
"""
INT8 = """
import sys
from hkdsr import load, export
export(load("tiny_x4"), "out.xml", sys.argv[1:], int8=True)
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(tiny.photographs(tmp_path_factory.mktemp("hr") / "Set5", 2, height=150, width=133).iterdir())


@pytest.fixture(params=FORMATS)
def name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(NEEDED[request.param], reason="an extra of hkdsr that is not installed")
    return request.param


def written(network: Network, name: str, folder: Path, photographs: list[Path]) -> Path:
    file = folder / f"out{FORMATS[name].suffix}"
    export(network, file, photographs, format=name, allow_weak=True)
    return file


def test_the_file_gives_the_same_numbers_at_every_size(name: str, photographs: list[Path], tmp_path: Path) -> None:
    network = build(COMPACT, 3).eval()
    file = written(network, name, tmp_path, photographs)
    other = load(file / "model.onnx" if name == "web" else file)
    assert other.scale == 3
    for size in ((1, 3, 48, 40), (2, 3, 37, 53), (1, 3, 64, 64)):
        x = torch.rand(size)
        with torch.no_grad():
            torch.testing.assert_close(other(x), network(x), rtol=0, atol=3e-6)


def test_what_draws_other_images_is_not_written(
    name: str, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FORMATS[name].write(build(COMPACT, 2).eval())
    monkeypatch.setitem(FORMATS, name, dataclasses.replace(FORMATS[name], write=lambda _: files))
    assert "as it would give other images" in refusal(lambda: written(small("compact"), name, tmp_path, photographs))
    assert not list(tmp_path.iterdir())


def test_openvino_tells_what_is_in_it(photographs: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    other = load(written(build(COMPACT, 2), "openvino", tmp_path, photographs))
    assert {"family": "compact", "features": "8", "convs": "2"}.items() <= other.settings.items()


def test_ncnn_has_plain_layers_and_the_names_that_programs_use() -> None:
    pytest.importorskip("pnnx")
    _, _, *lines = NCNN.write(small("compact"))[".param"].decode().splitlines()
    layers = [line.split() for line in lines if line]
    assert {layer[0] for layer in layers} == PLAIN_LAYERS
    assert layers[0][4] == "data"
    assert "output" in layers[-1]


@pytest.mark.parametrize(("convs", "warned"), [(8, False), (10, True)])
def test_ncnn_warns_of_seams(convs: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("pnnx")
    network = build(f"compact:features=4,convs={convs}", 2).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.constant_(layer.weight, 0.05)
    with caplog.at_level(logging.WARNING):
        NCNN.write(network)
    assert ("seams may show" in caplog.text) == warned


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_spandrel_reads_them_in_a_process_of_its_own(
    photographs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("spandrel")
    x = torch.rand(1, 3, 32, 40)
    np.save(tmp_path / "x.npy", x.numpy())
    wanted: dict[Path, torch.Tensor] = {}
    for family in READ_BY_SPANDREL:
        network = build("span:features=8,norm=1", 2).eval() if family == "span" else small(family)
        for suffix in (".safetensors", ".pth"):
            file = tmp_path / f"{family}{suffix}"
            export(network, file, photographs[:1], allow_weak=True)
            with torch.no_grad():
                wanted[file] = network(x).clamp(0, 1)
    assert "does not know" not in caplog.text
    command = [sys.executable, "-W", "ignore", "-c", BY_SPANDREL, tmp_path / "x.npy", *wanted]
    subprocess.run(command, check=True, timeout=120)
    for file, image in wanted.items():
        made = np.load(file.with_suffix(f"{file.suffix}.npy"))
        np.testing.assert_allclose(made, image, rtol=0, atol=1e-5, err_msg=file.name)


def test_families_that_spandrel_does_not_know_are_said_to_be(
    photographs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = small("rlfn")
    export(network, tmp_path / "out.pth", photographs[:1], allow_weak=True)
    assert "does not know this rlfn network" in caplog.text
    assert load(tmp_path / "out.pth").family == "rlfn"


def test_settings_that_pth_cannot_hold_are_noticed(photographs: list[Path], tmp_path: Path) -> None:
    """EDSR's factor of residuals is in no weight."""
    network = build("edsr:features=8,blocks=2,res_scale=0.1", 2).eval()
    assert "networks of the family edsr change in PyTorch's format" in refusal(
        lambda: export(network, tmp_path / "out.pth", photographs[:1], allow_weak=True)
    )


def test_weights_of_another_format_are_not_replaced(photographs: list[Path], tmp_path: Path) -> None:
    for needed in ("openvino", "pnnx"):
        pytest.importorskip(needed)
    network = build(COMPACT, 2)
    export(network, tmp_path / "out.xml", photographs[:1], allow_weak=True)
    weights = (tmp_path / "out.bin").read_bytes()
    said = refusal(lambda: export(network, tmp_path / "out.param", photographs[:1], allow_weak=True))
    assert "would replace those of" in said
    assert (tmp_path / "out.bin").read_bytes() == weights


def test_int8_loses_little_is_faster_and_reports_to_nobody(photographs: list[Path], tmp_path: Path) -> None:
    """What the makers of OpenVINO would be told goes through a folder in the home folder."""
    pytest.importorskip("nncf")
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    environment.pop("CI", None)
    command = [sys.executable, "-c", INT8, *map(str, photographs)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    assert not list((tmp_path / "home").rglob("*intel*"))
    assert (
        "<FakeQuantize" in (tmp_path / "out.xml").read_text()
        or 'type="FakeQuantize"' in (tmp_path / "out.xml").read_text()
    )
    assert load(tmp_path / "out.xml").scale == 4


def test_int8_keeps_as_few_layers_in_float_as_the_gate_asks(
    photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = FORMATS["openvino"], []

    def quantise(network: Network, crops: object, layers: int) -> Files:
        asked.append(layers)
        return real.write(tiny.nearest(2) if layers < 2 else network)

    monkeypatch.setitem(FORMATS, "openvino", dataclasses.replace(real, quantise=quantise))
    assert export(load("small_x2"), tmp_path / "out.xml", photographs, int8=True).lost < 0.01
    assert asked == [1, 2]


def test_int8_that_loses_more_is_not_written(
    photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf")
    real = FORMATS["openvino"]
    black = dataclasses.replace(real, quantise=lambda network, crops, layers: real.write(tiny.nearest(2)))
    monkeypatch.setitem(FORMATS, "openvino", black)
    said = refusal(lambda: export(load("small_x2"), tmp_path / "out.xml", photographs, int8=True))
    assert re.search(r"as 8 bits lose \d+\.\d+ dB of PSNR-Y on average, more than 0\.15 dB: find their ranges", said)
    assert not list(tmp_path.iterdir())
    assert "there is no int8 in ncnn: choose the format openvino" in refusal(
        lambda: export(load("small_x2"), tmp_path / "out.param", photographs, int8=True)
    )


PACKAGES = (
    ("openvino", "out.xml", "openvino"),
    ("pnnx", "out.param", "ncnn"),
    ("ncnn", "out.param", "ncnn"),
    ("spandrel", "out.pth", "spandrel"),
)


@pytest.mark.parametrize(("package", "target", "extra"), PACKAGES)
def test_a_missing_package_is_named_with_its_command(
    package: str, target: str, extra: str, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said = refusal(lambda: export(small("compact"), tmp_path / target, photographs[:1], allow_weak=True))
    assert f"pip install 'hkdsr[{extra}]'" in said
    assert not list(tmp_path.iterdir())
