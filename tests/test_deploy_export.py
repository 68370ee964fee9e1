"""An exported network draws the images that the network draws, or there is no file."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.data import imresize, rgb
from hkdsr.deploy.export import export
from hkdsr.deploy.formats import FORMATS
from hkdsr.deploy.gate import INT8, Parity, compare
from hkdsr.deploy.upscale import upscale
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, FitNet, Logits
from hkdsr.nets import Network
from hkdsr.nets.families.compact import Compact
from hkdsr.nets.files.load import build, digest, load
from hkdsr.nets.files.onnx import OnnxNetwork
from hkdsr.scoring import evaluate
from hkdsr.training.run import distill

for needed in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(needed, reason="ONNX is an extra: pip install 'hkdsr[onnx]'")

EXPORTED = (
    "compact:features=8,convs=2",
    "edsr:features=8,blocks=2",
    "rcan:features=16,groups=1,blocks=2",
    "imdn:features=16,blocks=2",
    "rlfn:features=12,blocks=2",
    "bsrn:features=16,blocks=2",
    "span:features=12,blocks=2",
    "span:features=12,blocks=2,attention=0",
)


def onnx(network: Network) -> bytes:
    return FORMATS["onnx"].write(network)[".onnx"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(tiny.photographs(tmp_path_factory.mktemp("hr") / "Set5", height=150, width=133).iterdir())


@pytest.fixture(scope="module")
def exported(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "compact.onnx"
    export(load("compact_x2"), path, photographs)
    return path


@pytest.mark.parametrize(("description", "scale"), [*((description, 2) for description in EXPORTED), (EXPORTED[0], 3)])
def test_numbers_are_the_same_for_any_batch_and_size(description: str, scale: int) -> None:
    torch.manual_seed(0)
    network = build(description, scale).eval()
    other = OnnxNetwork(onnx(network), "exported")
    assert other.scale == scale
    for size in ((1, 3, 48, 64), (3, 3, 61, 47), (2, 3, 33, 90)):
        x = torch.rand(size)
        with torch.no_grad():
            torch.testing.assert_close(other(x), network(x), rtol=0, atol=2e-6)


def test_a_shipped_network_keeps_its_images_scores_and_name(exported: Path, photographs: list[Path]) -> None:
    network, other = load("compact_x2"), load(exported)
    assert {"family": "compact", "features": "32", "convs": "8"}.items() <= other.settings.items()
    (own,), (theirs,) = (evaluate(one, photographs[0].parent) for one in (network, other))
    assert own.psnr_y == pytest.approx(theirs.psnr_y, abs=1e-3)
    colour = rgb(photographs[0])
    for image in (colour, colour[..., 0], np.dstack((colour, colour[..., 1]))):
        difference = upscale(network, image).astype(int) - upscale(other, image, tile=32)
        assert abs(difference).max() <= 1
        assert (difference != 0).mean() < 1e-3


class Elsewhere(Compact):
    """Draws brighter images where it is exported."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (3 / 255 if torch.compiler.is_exporting() else 0)


def test_what_draws_other_images_is_not_written(photographs: list[Path], tmp_path: Path) -> None:
    network = load("compact_x2")
    other = Elsewhere(2, features=32, convs=8).eval()
    other.load_state_dict(network.state_dict())
    told = r"out\.onnx is not written, as it would give other images \(6 images .* by at most \d+ of 255"
    with pytest.raises(HkdsrError, match=told):
        export(other, tmp_path / "out.onnx", photographs, allow_weak=True)
    assert not list(tmp_path.iterdir())


def test_smfanet_passes_by_its_gathers(shared: Path, tmp_path: Path) -> None:
    """By pooling and interpolation, ONNX Runtime was 21 levels off on this image."""
    network = load(shared / "weights" / "SMFANet" / "SMFANet_DF2K_100w_x2SR.pth")
    parity = export(network, tmp_path / "out.onnx", [shared / "benchmarks" / "Set5" / "HR" / "woman.png"])
    assert parity.step <= 1
    assert parity.psnr > 80


def test_a_family_that_keeps_the_size_of_its_export_is_refused(photographs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match="swinir does not leave their size open in ONNX, so choose another"):
        export(
            build("swinir:features=12,groups=1,blocks=2,heads=2", 2),
            tmp_path / "out.onnx",
            photographs,
            allow_weak=True,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("step", "loss", "psnr", "kept"),
    [
        (0, 0.0, float("inf"), True),
        (2, 0.01, 70.0, True),
        (3, 0.0, 80.0, False),
        (1, 0.011, 80.0, False),
        (1, 0.0, 69.9, False),
    ],
)
def test_the_gate(step: int, loss: float, psnr: float, kept: bool) -> None:
    assert Parity(6, step, 0.5, loss, psnr).kept == kept


def test_the_gate_of_int8_is_what_images_lose_on_average() -> None:
    assert INT8.passes(Parity(6, 30, 0.9, 0.4, 45.0, lost=0.15))
    assert ": under 0.001 % of the values differ, by at most 1 of 255" in Parity(6, 1, 4e-6, 0.0, 104.2).sentence()
    assert not INT8.passes(Parity(6, 1, 0.1, 0.2, 90.0, lost=0.16))


def test_parity_counts_what_differs() -> None:
    class Brighter(OnnxNetwork):
        def forward(self, x: Tensor) -> Tensor:
            made = super().forward(x)
            made[..., :10, :] += 2 / 255
            return made

    network = tiny.nearest(2)
    hr = imresize(np.random.default_rng(0).integers(40, 200, (10, 10, 3), dtype=np.uint8), 4)
    parity = compare(network, Brighter(onnx(network), "brighter"), [hr])
    assert (parity.images, parity.step, parity.share) == (1, 2, 10 / 40)
    assert parity.loss > 0.01
    assert parity.psnr == pytest.approx(10 * np.log10(255**2 / (4 * 10 / 40)))
    assert abs(parity.lost) == parity.loss


def test_it_teaches_by_its_images(photographs: list[Path], tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=3)
    export(load(recipe.teacher), tmp_path / "teacher.onnx", photographs, allow_weak=True)
    other = dataclasses.replace(recipe, teacher=str(tmp_path / "teacher.onnx"), out=tmp_path / "other")
    own, theirs = (distill(one).network.state_dict() for one in (recipe, other))
    # The teacher's images are kept in 8 bits, of which one in many is rounded to the other side.
    for name, value in own.items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-4)
    for method in (HKDSR(), FitNet()):
        with pytest.raises(HkdsrError, match=r"runs only as a whole: choose a method"):
            distill(dataclasses.replace(other, method=method, out=tmp_path / "third"))


def test_files_are_told_apart_by_their_bytes(exported: Path, photographs: list[Path], tmp_path: Path) -> None:
    export(build("compact:features=4,convs=1", 2), tmp_path / "other.onnx", photographs, allow_weak=True)
    one, again, other = load(exported), load(exported), load(tmp_path / "other.onnx")
    assert digest(one.state_dict()) == digest(again.state_dict()) != digest(other.state_dict())


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2)


def raw(network: nn.Module, shape: tuple[int, ...], sizes: dict[int, str] | None = None) -> bytes:
    program = torch.onnx.export(
        network.eval(), (torch.zeros(shape),), dynamo=True, verbose=False, dynamic_shapes=(sizes,) if sizes else None
    )
    assert program is not None
    return program.model_proto.SerializeToString()


def test_files_that_are_no_such_network_are_named(tmp_path: Path) -> None:
    network, sizes = build("compact:features=4,convs=1", 2), {2: "height", 3: "width"}
    for content, told in (
        (b"no ONNX", "cannot be run by ONNX Runtime: export it again"),
        (raw(Halved(), (3, 40, 56)), r"are \(3, 40, 56\), not one batch of images"),
        (raw(network, (2, 3, 48, 64)), "takes batches of 2 images only: export it for one image"),
        (raw(Halved(), (1, 3, 40, 56), sizes), r"gives \(1, 3, 32, 32\) for an image of \(1, 3, 64, 64\)"),
        (raw(Halved(), (1, 4, 40, 56), sizes), r"are \(1, 4, any, any\), not one batch of images"),
    ):
        (tmp_path / "net.onnx").write_bytes(content)
        with pytest.raises(HkdsrError, match=rf"net\.onnx {told}"):
            load(tmp_path / "net.onnx")


def test_mistakes_are_named(
    tmp_path: Path, exported: Path, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HkdsrError, match=r"out\.pth does not end in \.onnx, as ONNX files must: name another"):
        export(load("compact_x2"), tmp_path / "out.pth", format="onnx")
    with pytest.raises(HkdsrError, match=r"out\.png has no suffix of a format: let it end in \.onnx, \.xml"):
        export(load("compact_x2"), tmp_path / "out.png")
    with pytest.raises(HkdsrError, match="there is no image at"):
        export(load("compact_x2"), tmp_path / "out.onnx", str(tmp_path / "absent.png"))
    with pytest.raises(HkdsrError, match="cannot be copied, converted or counted"):
        export(load(exported), tmp_path / "out.onnx", photographs)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(HkdsrError, match=r"ONNX files need ONNX Runtime: pip install 'hkdsr\[onnx\]'"):
        load(exported)
