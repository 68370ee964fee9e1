"""Shipped networks without PyTorch: the same images within a level, the right network, and which runtime it is."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile import heard
from tiny import QUIET

from hkdsr.data import ImageData, read_image, rgb, write_image
from hkdsr.deploy import onnx_upscaler, runtime
from hkdsr.deploy.onnx_upscaler import SHA256, WEIGHTS, OnnxUpscaler, open_shipped, shipped_as_onnx
from hkdsr.deploy.runtime import open_network
from hkdsr.deploy.tiles import reach
from hkdsr.deploy.upscale_files import upscale_file
from hkdsr.errors import HkdsrError
from hkdsr.nets.files.load import load

pytest.importorskip("onnxruntime")
SHIPPED = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


@pytest.fixture
def photo(shared: Path, tmp_path: Path) -> Path:
    pixels = read_image(shared / "benchmarks" / "Set5" / "HR" / "butterfly.png").colour
    write_image(tmp_path / "photo.png", ImageData(pixels[:150, :133]))
    return tmp_path / "photo.png"


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
@pytest.mark.parametrize("name", SHIPPED)
def test_images_are_those_of_pytorch_within_a_level(name: str, kind: str, photo: Path) -> None:
    """In colour as a whole, in grey in tiles, and with 16 bits by strips."""
    pytest.importorskip("openvino" if kind == "openvino" else "onnxruntime")
    network, upscaler = load(name), open_shipped(WEIGHTS / f"{name}.onnx", kind)
    assert upscaler.scale == network.scale
    assert upscaler.runtime.startswith(("ONNX Runtime 1.", "OpenVINO 20"))
    pixels = rgb(photo)
    write_image(photo.with_name("grey.png"), ImageData(np.repeat(pixels[..., :1], 3, axis=2), grey=True))
    write_image(photo.with_name("deep.png"), ImageData(pixels.astype(np.uint16) * 257))
    for source, handling in (
        ("photo.png", QUIET),
        ("grey.png", replace(QUIET, tile=40)),
        ("deep.png", replace(QUIET, tile=70, stream_from=0)),
    ):
        ours, theirs = (
            read_image(upscale_file(one, photo.with_name(source), photo.with_name(f"{index}.png"), handling)).colour
            for index, one in enumerate((upscaler, network))
        )
        assert ours.dtype == theirs.dtype
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= (1 if ours.dtype == np.uint8 else 257)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_onnx_file_is_that_of_the_weights(name: str) -> None:
    import onnxruntime

    path = WEIGHTS / f"{name}.onnx"
    told = onnxruntime.InferenceSession(path.read_bytes()).get_modelmeta().custom_metadata_map
    assert told[SHA256] == hashlib.sha256(path.with_suffix(".safetensors").read_bytes()).hexdigest()
    assert told["reach"] == str(reach(load(name)).pixels)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    shutil.copy(WEIGHTS / "tiny_x4.onnx", tmp_path / "a.onnx")
    shutil.copy(WEIGHTS / "small_x2.safetensors", tmp_path / "a.safetensors")
    with pytest.raises(HkdsrError, match=r"a\.onnx is not made of the weights beside it: install the package again"):
        open_shipped(tmp_path / "a.onnx", "onnx")


def test_auto_takes_onnx_runtime_for_one_small_image(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "GPUS", ())

    def opened(model: str = "tiny_x4", device: str = "auto", inputs: tuple[Path, ...] = (photo,)) -> bool:
        with heard() as notes:
            upscaler, _ = open_network(model, "auto", device, [str(path) for path in inputs])
        assert notes == ([] if model.endswith(".safetensors") else [f"{model} is run by {upscaler.runtime}"])
        return isinstance(upscaler, OnnxUpscaler)

    assert opened()
    assert not opened(inputs=(photo, photo))
    assert not opened(inputs=(photo.parent,))
    assert not opened(model=str(WEIGHTS / "tiny_x4.safetensors"))
    monkeypatch.setattr(runtime, "SMALL", 150 * 133 - 1)
    assert not opened()
    monkeypatch.setattr(runtime, "SMALL", 150 * 133)
    assert opened()
    monkeypatch.setattr(runtime, "GPUS", ("/dev/null",))
    assert not opened()
    assert opened(device="cpu")
    monkeypatch.setattr(runtime, "is_installed", lambda name: False)
    assert not opened()


def test_what_a_runtime_cannot_run_is_said(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for model, device, told in (
        (str(WEIGHTS / "tiny_x4.safetensors"), "auto", r"--runtime onnx is for shipped networks: export .*tiny_x4"),
        ("tiny_x4", "cuda", r"--runtime onnx runs on the CPU: leave out --device cuda, or take torch"),
    ):
        with pytest.raises(HkdsrError, match=told):
            open_network(model, "onnx", device, [str(photo)])
    monkeypatch.setattr(onnx_upscaler, "is_installed", lambda name: False)
    with pytest.raises(HkdsrError, match=r"needs a package that is missing: pip install 'hkdsr\[onnx\]'"):
        open_network("tiny_x4", "onnx", "cpu", [str(photo)])


def test_a_file_of_the_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped_as_onnx("tiny_x4") == WEIGHTS / "tiny_x4.onnx"
    Path("tiny_x4").touch()
    assert shipped_as_onnx("tiny_x4") is None
    assert shipped_as_onnx(str(WEIGHTS / "tiny_x4")) is None


def test_a_lack_of_memory_makes_tiles_smaller(photo: Path) -> None:
    whole = open_shipped(WEIGHTS / "tiny_x4.onnx", "onnx")

    def scarce(images: np.ndarray) -> np.ndarray:
        if images.shape[2] > 100:
            raise MemoryError
        return whole._run(images)

    small = OnnxUpscaler(scarce, whole.scale, whole._reach, "")
    with heard() as notes:
        joined = rgb(upscale_file(small, photo, photo.with_name("a.png"), QUIET)).astype(int)
    assert any("does not fit into memory in tiles of 150 pixels" in note for note in notes)
    assert np.abs(joined - rgb(upscale_file(whole, photo, photo.with_name("b.png"), QUIET))).max() <= 1
    with pytest.raises(HkdsrError, match="does not fit into memory in tiles: use a smaller network, or free memory"):
        upscale_file(small, photo, photo.with_name("c.png"), replace(QUIET, tile=120))


def test_a_small_image_needs_no_pytorch(photo: Path) -> None:
    code = "import sys; from hkdsr.__main__ import main; main(); print(sorted({'torch', 'scipy'} & set(sys.modules)))"
    words = ("upscale", photo, "-o", photo.with_name("large.png"), "-m", "tiny_x4", "--runtime", "onnx")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"written: {photo.with_name('large.png')}", "[]"]
    assert "tiny_x4 is run by ONNX Runtime" in done.stderr
