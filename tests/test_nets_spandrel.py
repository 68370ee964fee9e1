"""Networks of other tools: files that spandrel reads and writes like ours, and spandrel's networks as teachers."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from hkdsr.data import imresize
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network, parameter_count
from hkdsr.nets.families.compact import Compact
from hkdsr.nets.families.rcan import RCAN
from hkdsr.nets.families.swinir import SwinIR
from hkdsr.nets.files.load import load
from hkdsr.nets.files.spandrel import SpandrelNetwork
from hkdsr.scoring.metrics import psnr_y

spandrel = pytest.importorskip("spandrel")
architectures = pytest.importorskip("spandrel.architectures")

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


def saved(net: nn.Module, folder: Path) -> Path:
    file = folder / "net.pth"
    torch.save(net.state_dict(), file)
    return file


def swinir_of_spandrel(size: int) -> nn.Module:
    """A small SwinIR as published: with the masks of all windows of its training size."""
    from spandrel.architectures.SwinIR import SwinIR as Published

    return Published(
        img_size=size,
        embed_dim=24,
        depths=[2, 2],
        num_heads=[2, 2],
        window_size=8,
        mlp_ratio=2.0,
        upscale=2,
        upsampler="pixelshuffle",
    ).eval()


@pytest.mark.parametrize(
    "net",
    [
        *(RCAN(scale, groups=2, blocks=2, features=16, reduction=4) for scale in (2, 3, 4)),
        *(Compact(scale, features=16, convs=3) for scale in (2, 3, 4)),
        *(SwinIR(scale, features=24, groups=2, blocks=3, heads=2) for scale in (2, 3, 4)),
        *(SwinIR(scale, 24, 2, 2, 3, 1.5, "pixelshuffledirect") for scale in (2, 3, 4)),
    ],
    ids=lambda net: f"{net.family}-x{net.scale}",
)
def test_spandrel_reads_our_files_and_computes_the_same(net: Network, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        descriptor = spandrel.ModelLoader().load_from_file(saved(net, tmp_path))
        descriptor.eval()
        for size in ((19, 27), (8, 40)):
            x = torch.rand(2, 3, *size)
            expected = descriptor.model(x.clone())
            assert (net(x) - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())
    assert descriptor.scale == net.scale
    assert descriptor.architecture.id.lower() == net.family


@pytest.mark.parametrize(("upsampler", "count"), [("pixelshuffle", 1_235_439), ("pixelshuffledirect", 929_628)])
def test_swinir_has_the_parameters_of_the_published_network(upsampler: str, count: int) -> None:
    net = SwinIR(4, 60, 4, 6, 6, upsampler=upsampler)
    theirs = spandrel.ModelLoader().load_from_state_dict(net.state_dict()).model
    assert parameter_count(theirs) == parameter_count(net) == count


@pytest.mark.parametrize("size", [24, 48])
def test_published_swinir_files_load_strictly(size: int) -> None:
    published = swinir_of_spandrel(size)
    state = published.state_dict()
    assert any(name.endswith("attn_mask") for name in state)
    found = SwinIR.recognise(state)
    assert found == SwinIR(2, 24, 2, 2, 2).settings
    x = torch.rand(1, 3, 21, 40)
    for mask in (True, False):
        net = SwinIR(2, 24, 2, 2, 2)
        net.load_state_dict({name: value for name, value in state.items() if mask or "attn_mask" not in name})
        with torch.no_grad():
            assert torch.allclose(net(x), published(x), atol=1e-5)


def described(net: nn.Module) -> SpandrelNetwork:
    return SpandrelNetwork(spandrel.ModelLoader().load_from_state_dict(net.state_dict()))


@pytest.mark.parametrize(
    "net",
    [RCAN(2, 3, 2, 16, 4), SwinIR(2, 24, 3, 2, 2), SwinIR(3, 24, 3, 2, 2, upsampler="pixelshuffledirect")],
    ids=lambda net: f"{net.family}-x{net.scale}",
)
def test_taps_of_a_spandrel_network_are_those_of_our_own(net: Network) -> None:
    teacher, x = described(net), torch.rand(2, 3, 24, 16)
    before = x.clone()
    assert (teacher.scale, teacher.channels, len(teacher.blocks)) == (net.scale, net.channels, 3)
    assert [teacher.tap_index(depth) for depth in (0.3, 0.6, 1.0)] == [0, 1, 2]
    with torch.no_grad():
        ours, theirs = net.trace(x, (2, 0)), teacher.trace(x, (2, 0))
    assert torch.equal(x, before)
    assert torch.allclose(ours.sr, theirs.sr, atol=1e-5)
    for own, other in zip(ours.taps, theirs.taps, strict=True):
        assert torch.allclose(own, other, atol=1e-3 * float(own.abs().max()))
    if isinstance(net, RCAN):
        assert torch.allclose(ours.shallow, theirs.shallow, atol=1e-4 * float(ours.shallow.abs().max()))


@pytest.mark.parametrize("h", [8, 13, 31])
def test_taps_have_the_size_of_the_image_even_if_the_network_pads_it(h: int) -> None:
    teacher = described(SwinIR(2, 24, 3, 2, 2))
    traced = teacher.trace(torch.rand(1, 3, h, 19), (1,))
    assert traced.sr.shape == (1, 3, 2 * h, 38)
    assert traced.shallow.shape == traced.taps[0].shape == (1, 24, h, 19)


def test_a_teacher_is_frozen_and_passes_gradients_to_its_input() -> None:
    teacher, x = described(RCAN(2, 2, 2, 16, 4)), torch.rand(1, 3, 8, 8, requires_grad=True)
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    teacher(x).sum().backward()
    assert x.grad is not None
    assert x.grad.any()


def test_a_copy_of_a_teacher_taps_itself_and_no_module_is_stored_twice() -> None:
    teacher, x = described(RCAN(2, 2, 2, 16, 4)), torch.rand(1, 3, 8, 8)
    assert set(teacher.state_dict()) == {f"model.{name}" for name in RCAN(2, 2, 2, 16, 4).state_dict()}
    twin = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert not twin.trace(x, (1,)).taps[0].any()
    assert teacher.trace(x, (1,)).taps[0].any()


def test_a_network_without_a_trunk_teaches_with_images_only() -> None:
    net, x = Compact(2, 16, 1), torch.rand(1, 3, 9, 8)
    teacher = described(net)
    assert (teacher.channels, len(teacher.blocks)) == (3, 0)
    assert len(described(Compact(2, 16, 3)).blocks) == 3  # a plain chain of convolutions
    with torch.no_grad():
        traced = teacher.trace(x, ())
        assert torch.allclose(traced.sr, net(x), atol=1e-6)
    assert torch.equal(traced.shallow, x)
    with pytest.raises(HkdsrError, match=r"has no trunk, like a U-Net .*: choose a method that compares images only$"):
        teacher.tap_index(1.0)


def test_a_spandrel_network_refuses_to_run_in_parts() -> None:
    teacher, x = described(RCAN(2, 2, 2, 16, 4)), torch.rand(1, 3, 8, 8)
    for part in (lambda: teacher.shallow(x), lambda: teacher.run_trunk(x, ()), lambda: teacher.reconstruct(x, x, x)):
        with pytest.raises(HkdsrError, match="runs only as a whole: choose"):
            part()


@pytest.mark.parametrize(("inputs", "scale"), [(2, 2), (4, 1), (3, 5)])
def test_other_channels_and_scales_are_refused(inputs: int, scale: int) -> None:
    from spandrel.architectures.Compact import Compact as Published

    net = Published(num_in_ch=inputs, num_out_ch=inputs, num_feat=8, num_conv=2, upscale=scale)
    with pytest.raises(
        HkdsrError, match=r"^Real.* does not turn one RGB or grey image into one of 1, 2, 3, 4 or 8 times"
    ):
        described(net)


@pytest.mark.parametrize("name", ["torn.pth", "text.pth", "torn.safetensors", "words.bin", "list.pth", "other.pth"])
def test_unusable_files_are_named(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    torch.save({"list.pth": [1, 2], "other.pth": {"x": torch.ones(1)}}.get(name, RCAN(2, 1, 1).state_dict()), file)
    if name.startswith("torn"):
        file.write_bytes(file.read_bytes()[:500])
    if name.startswith(("text", "words")):
        file.write_text("<html>not found</html>")
    with pytest.raises(HkdsrError, match=f"{name} .*: (choose|copy|give)") as caught:
        load(file)
    assert "\n" not in str(caught.value)


def test_a_missing_spandrel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(architectures.ESRGAN.ESRGAN(num_filters=8, num_blocks=1, scale=2), tmp_path)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(HkdsrError, match=r"pip install 'hkdsr\[spandrel\]'"):
        load(file)


def test_craft_scores_as_in_spandrel(shared: Path) -> None:
    """On Set5's smallest image; on all five the mean is 32.388 dB (HR cropped to multiples of 4)."""
    teacher = load(shared / "weights" / "CRAFT" / "CRAFT_x4.pth")
    assert isinstance(teacher, SpandrelNetwork)
    assert (teacher.architecture, teacher.scale, teacher.channels, len(teacher.blocks)) == ("CRAFT", 4, 48, 4)
    hr = np.asarray(Image.open(shared / "benchmarks" / "Set5" / "HR" / "butterfly.png").convert("RGB"))
    lr = torch.from_numpy(imresize(hr, 1 / 4)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        traced = teacher.trace(lr, (0, 3))
    direct: Tensor = spandrel.ModelLoader().load_from_file(shared / "weights" / "CRAFT" / "CRAFT_x4.pth")(lr)
    assert (traced.sr.clamp(0, 1) - direct).abs().max() <= 1e-6
    assert all(tap.shape == (1, 48, *lr.shape[-2:]) for tap in (traced.shallow, *traced.taps))
    sr = (255 * traced.sr[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    assert psnr_y(sr, hr, crop=4) == pytest.approx(29.186, abs=0.005)
