"""Programs of TorchScript and torch.export run if they are named as code, and in no other case."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import pytest
import tiny
import torch
from small import refusal
from torch import Tensor, nn

import hkdsr
from hkdsr.errors import HkdsrError
from hkdsr.methods import Logits
from hkdsr.nets.files.load import build, load
from hkdsr.nets.files.named import recorded
from hkdsr.training.run import distill

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning"
)  # torch.jit is deprecated
SIZE = (24, 32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named in a test is not remembered in the next one."""
    monkeypatch.setenv("HKDSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("hkdsr.nets.files.named._named", {})


class Net(nn.Module):
    """Sees one pixel far."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.up = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.conv(x))


def exported(folder: Path, sizes: dict[int, torch.export.Dim] | None = None, batch: int = 1) -> Path:
    program = torch.export.export(
        Net().eval(), (torch.rand(batch, 3, *SIZE),), dynamic_shapes=(sizes,) if sizes else None
    )
    torch.export.save(program, folder / "net.pt2")
    return folder / "net.pt2"


def scripted(folder: Path, module: nn.Module | None = None) -> Path:
    torch.jit.save(torch.jit.script((module or Net()).eval()), folder / "net.pt")
    return folder / "net.pt"


def open_sizes() -> dict[int, torch.export.Dim]:
    return {axis: torch.export.Dim(name, min=8, max=4096) for axis, name in ((2, "height"), (3, "width"))}


def test_a_program_of_any_size_gives_what_its_module_gives(tmp_path: Path) -> None:
    x = torch.rand(2, 3, 21, 37)
    for path, kind in ((exported(tmp_path, open_sizes()), "torch.export"), (scripted(tmp_path), "TorchScript")):
        network = load(f"{path}:forward")
        assert (network.scale, network.trainable, len(network.blocks)) == (2, False, 0)
        assert network.settings["architecture"] == kind
        torch.testing.assert_close(network(x), Net()(x))
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_program_of_one_size_gets_tiles(tmp_path: Path) -> None:
    network = load(f"{exported(tmp_path)}:forward")
    assert "tiles of 32x24" in network.notes[0]
    for size in (SIZE, (50, 33), (70, 81)):
        x = torch.rand(2, 3, *size)
        torch.testing.assert_close(network(x), Net()(x))
    x = torch.rand(1, 3, 9, 40)  # its lower edge is not that of the padded tile
    torch.testing.assert_close(network(x)[..., :16, :], Net()(x)[..., :16, :])


def test_a_program_is_run_only_if_it_is_named_so(tmp_path: Path) -> None:
    for path, kind in ((exported(tmp_path), "torch.export"), (scripted(tmp_path), "TorchScript")):
        message = refusal(lambda path=path: load(path))
        assert f"is a program of {kind}, which may do what any program may: if you trust it, name it as" in message
        assert f"{path.name}:forward" in message
        name = f"{path}:forward"
        assert "is code that was not named here before" in refusal(lambda name=name: recorded(name))
        load(name)
        assert recorded(name) == name
    scripted(tmp_path, nn.Sequential(Net(), nn.ReLU()))
    assert "or has changed" in refusal(lambda: recorded(f"{tmp_path / 'net.pt'}:forward"))


def test_how_it_is_run_may_be_set(tmp_path: Path) -> None:
    path = scripted(tmp_path)
    network, x = load(f"{path}:forward:colour_range=255"), torch.rand(1, 3, 9, 8)
    torch.testing.assert_close(network(x), Net()(255 * x) / 255)
    assert "has no setting 'features': choose from colour_range, pad_multiple, output" in refusal(
        lambda: load(f"{path}:forward:features=8")
    )
    assert "has no function 'Net' to run: name it as net.pt:forward" in refusal(lambda: load(f"{path}:Net"))


class Traced(nn.Module):
    """Fails on images that are not 64x64, as traced code with sizes in it does."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, 3, 64, 64)
        return x.repeat_interleave(3, 2).repeat_interleave(3, 3)


def test_the_one_size_of_torchscript_is_found(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(Traced(), torch.rand(1, 3, 64, 64)), tmp_path / "net.pt")
    network, x = load(f"{tmp_path / 'net.pt'}:forward"), torch.rand(2, 3, 70, 40)
    assert network.scale == 3
    assert torch.equal(network(x), x.repeat_interleave(3, 2).repeat_interleave(3, 3))


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2] < 0, "never"
        return x


def test_faults_are_named(tmp_path: Path) -> None:
    name = f"{tmp_path / 'net.pt'}:forward"
    assert "cannot read" in refusal(lambda: load(name))
    tiny.teacher(tmp_path / "net.safetensors").rename(tmp_path / "net.pt")
    assert "is no program of TorchScript or torch.export: name the file alone, as net.pt" in refusal(lambda: load(name))
    path = scripted(tmp_path, Broken())
    assert "net.pt fails on images of 64x64 (" in refusal(lambda: load(name))
    scripted(tmp_path, nn.MaxPool2d(2))
    assert "gives (1, 3, 32, 32) for an image of (1, 3, 64, 64): give a network that turns" in refusal(
        lambda: load(name)
    )
    path.write_bytes(path.read_bytes()[:-200])
    assert "net.pt is no program" in refusal(lambda: load(name))
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as archive:
        archive.writestr("net/archive_format", "pt2")
    assert "net.pt2 cannot be read by this PyTorch (" in refusal(lambda: load(f"{tmp_path / 'net.pt2'}:forward"))
    exported(tmp_path, batch=2)
    assert "takes batches of 2 images only: export it for one" in refusal(
        lambda: load(f"{tmp_path / 'net.pt2'}:forward")
    )


def test_it_teaches_by_its_images_and_is_no_student(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=2)
    name = f"{exported(tmp_path)}:forward"
    done = distill(dataclasses.replace(recipe, teacher=name))
    assert done.network.family == "compact"
    with pytest.raises(HkdsrError, match="so it cannot be trained: set student"):
        distill(dataclasses.replace(recipe, student=name, out=tmp_path / "other"))
    assert hkdsr.upscale(name, recipe.data.train[0] / "00.png").shape == (112, 132, 3)
    assert build(name, 2).family == "program"
