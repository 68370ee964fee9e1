"""ONNX files in other forms: plain graphs, grey levels, colours last, one size. They give the same images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
import torch
from small import refusal, small
from torch import Tensor, nn

from hkdsr.data import rgb
from hkdsr.deploy.export import export
from hkdsr.deploy.formats import FORMATS
from hkdsr.deploy.formats.onnx import in_form
from hkdsr.deploy.formats.onnx_form import OnnxForm
from hkdsr.deploy.formats.plain_graph import REPLACED
from hkdsr.deploy.gate import photographs as cut_photographs
from hkdsr.deploy.upscale import upscale
from hkdsr.nets.families.compact import Compact
from hkdsr.nets.files.load import build, load

ort = pytest.importorskip("onnxruntime", reason="ONNX is an extra: pip install 'hkdsr[onnx]'")

COMPACT = "compact:features=8,convs=2"
PLAIN = {"Conv", "Relu", "Sub", "Mul", "Add", "ConvTranspose", "Resize"}
"""The operations of a plain Compact: WebGPU and LiteRT on a GPU have all of them."""
WIDE = {"Cast", "Div", "Transpose"}
"""What grey levels and colours last add."""
PHONE = OnnxForm(plain=True, values="uint8", layout="nhwc", size=(40, 56))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(tiny.photographs(tmp_path_factory.mktemp("hr") / "Set5", 2, height=150, width=133).iterdir())


def trained(description: str, scale: int) -> Compact:
    """With slopes of both signs, as training leaves them."""
    network = build(description, scale).eval()
    assert isinstance(network, Compact)
    for layer in network.modules():
        if isinstance(layer, nn.PReLU):
            nn.init.normal_(layer.weight, std=0.5)
    return network


def operations(content: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(content).graph.node}


@pytest.mark.parametrize("scale", [2, 3])
def test_a_plain_graph_is_plain_and_exact(scale: int) -> None:
    """PRelu and DepthToSpace are replaced without a rounding: the same runtime gives the same bits."""
    network = trained(COMPACT, scale)
    usual = FORMATS["onnx"].write(network)[".onnx"]
    plain = in_form(OnnxForm(plain=True)).write(network)[".onnx"]
    assert {"PRelu", "DepthToSpace"} <= operations(usual)
    assert operations(plain) == PLAIN
    for size in ((1, 3, 48, 40), (2, 3, 37, 53)):
        x = {"input": torch.rand(size).numpy()}
        (one,), (other,) = (ort.InferenceSession(content).run(None, x) for content in (usual, plain))
        np.testing.assert_allclose(other, one, rtol=0, atol=5e-7)


def test_nothing_in_a_file_tells_where_it_was_made() -> None:
    content = FORMATS["onnx"].write(small("compact"))[".onnx"]
    assert b".py" not in content
    assert str(Path(__file__).parents[1]).encode() not in content


class Bounded(Compact):
    """Has bounds: those of an image, of a divisor, or of indices."""

    of = "image"

    def forward(self, x: Tensor) -> Tensor:
        if self.of == "indices":
            return super().forward(x[:, :, torch.arange(x.shape[2]).clamp(min=1)])
        made = super().forward(x)
        return made.clamp(0, 1) if self.of == "image" else 1 / made.clamp(min=0.25)


def test_clip_is_replaced_or_refused() -> None:
    network = Bounded(2, features=4, convs=1).eval()
    x = torch.rand(1, 3, 24, 20) * 2 - 0.5
    for network.of in ("image", "divisor"):
        content = in_form(OnnxForm(plain=True)).write(network)[".onnx"]
        assert not operations(content) & {*REPLACED}
        (made,) = ort.InferenceSession(content).run(None, {"input": x.numpy()})
        np.testing.assert_allclose(made, network(x).detach(), rtol=0, atol=2e-6)
    network.of = "indices"
    said = refusal(lambda: in_form(OnnxForm(plain=True)).write(network))
    assert "operations that a plain graph cannot have (Clip)" in said


@pytest.mark.parametrize(
    "form", [OnnxForm(values="uint8"), OnnxForm(layout="nhwc"), OnnxForm(plain=True, values="uint8", layout="nhwc")]
)
def test_other_images_of_any_size_come_back(form: OnnxForm, photographs: list[Path], tmp_path: Path) -> None:
    network = trained(COMPACT, 2)
    parity = export(network, tmp_path / "out.onnx", photographs, form=form, allow_weak=True)
    assert parity.step <= 1
    other = load(tmp_path / "out.onnx")
    assert form.description.items() <= other.settings.items()
    image = rgb(photographs[0])[:61, :90]
    assert abs(upscale(other, image, tile=32).astype(int) - upscale(network, image)).max() <= 1
    given = ort.InferenceSession(tmp_path / "out.onnx").get_inputs()[0]
    assert (given.type == "tensor(uint8)") == (form.values == "uint8")
    assert given.shape.index(3) == (3 if form.layout == "nhwc" else 1)


def test_grey_levels_stay_between_black_and_white() -> None:
    """A network overshoots; values of 8 bits would wrap around."""
    network = tiny.nearest(2)
    last = network.body[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    image = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3).contiguous()
    for shift, expected in ((0.5, lambda x: np.minimum(x + 128, 255)), (-0.5, lambda x: np.maximum(x - 127, 0))):
        nn.init.constant_(last.bias, shift)
        content = in_form(OnnxForm(values="uint8", layout="nhwc")).write(network)[".onnx"]
        (made,) = ort.InferenceSession(content).run(None, {"input": image.numpy()})
        assert abs(made[0, ::2, ::2].astype(int) - expected(image[0].numpy().astype(int))).max() <= 1


def test_a_file_for_phones(photographs: list[Path], tmp_path: Path) -> None:
    network = trained(COMPACT, 3)
    parity = export(network, tmp_path / "out.onnx", photographs, form=PHONE, allow_weak=True)
    assert parity.step <= 1
    assert parity.images == 2
    content = (tmp_path / "out.onnx").read_bytes()
    assert operations(content) == PLAIN | WIDE
    session = ort.InferenceSession(content)
    assert session.get_inputs()[0].shape == [1, 40, 56, 3]
    assert session.get_outputs()[0].shape == [1, 120, 168, 3]
    assert any("tiles of 56x40" in note for note in load(tmp_path / "out.onnx").notes)  # larger images in tiles


def test_one_size_is_cut_out_of_photographs_or_reflected(photographs: list[Path]) -> None:
    hr = rgb(photographs[0])
    (cut,) = cut_photographs(2, photographs[:1], (40, 50))
    np.testing.assert_array_equal(cut, hr[35:115, 16:116])
    (large,) = cut_photographs(2, photographs[:1], (160, 66))
    assert large.shape == (320, 132, 3)
    np.testing.assert_array_equal(large[150:200], hr[100:, :132][::-1])


def test_windows_of_one_size(photographs: list[Path], tmp_path: Path) -> None:
    """Networks that cannot leave the size open have a file of one size."""
    network = build("swinir:features=12,groups=1,blocks=2,heads=2", 2).eval()
    export(network, tmp_path / "out.onnx", photographs[:1], form=OnnxForm(size=(16, 24)), allow_weak=True)
    assert (tmp_path / "out.onnx").exists()


def test_other_formats_have_one_form(tmp_path: Path) -> None:
    said = refusal(lambda: export(small("compact"), tmp_path / "out.xml", form=OnnxForm(plain=True), allow_weak=True))
    assert said == "OpenVINO has one form only: choose the format onnx"
