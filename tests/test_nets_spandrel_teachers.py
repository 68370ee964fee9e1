"""Networks that spandrel loads as teachers: their trunks, their taps at any size, and every method that needs them."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from small import refusal
from torch import Tensor, nn

from hkdsr.data.crops import Batch
from hkdsr.methods import HKDSR, METHODS
from hkdsr.nets.exits import Exits, NetworkWithExits
from hkdsr.nets.families.rcan import RCAN
from hkdsr.nets.files.anatomy import explore, recording
from hkdsr.nets.files.load import build
from hkdsr.nets.files.spandrel import SpandrelNetwork
from hkdsr.training.distiller import Distiller
from hkdsr.training.run import distill
from hkdsr.training.teacher import Teacher
from tools.spandrel_cases import CASES, RUN_ONLY

spandrel = pytest.importorskip("spandrel")
architectures = pytest.importorskip("spandrel.architectures")

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")

DEPTHS = (0.3, 0.6)


def described(label: str) -> Any:
    """A small network of one of spandrel's architectures, as spandrel gives it; those of the table of all."""
    (case,) = (case for case in CASES if case.label == label)
    return spandrel.ModelLoader().load_from_state_dict(case.made().state_dict())


def made(label: str) -> SpandrelNetwork:
    return SpandrelNetwork(described(label))


def rcan() -> tuple[RCAN, SpandrelNetwork]:
    """Ours and spandrel's, with the same weights."""
    own = RCAN(2, groups=3, blocks=1, features=16, reduction=4).requires_grad_(False)
    return own, SpandrelNetwork(spandrel.ModelLoader().load_from_state_dict(own.state_dict()))


def trained(name: str, settings: dict[str, Any], teacher: Any, steps: int = 3) -> Distiller:
    """A student after some steps of a method."""
    torch.manual_seed(0)
    method = METHODS[name](**settings).resolved(2)
    student = build("compact:features=8,convs=4", 2)
    exits = Exits(student, DEPTHS) if method.uses_exits else None
    # The same kind of heads for both teachers.
    heads = Exits(teacher, DEPTHS if method.uses_exits else (), tail="shuffle", start="plain").requires_grad_(False)
    taught = NetworkWithExits(teacher, heads)
    source = Teacher(taught, method.feature_depths)
    module = Distiller(student, exits, method, (teacher,))
    optimiser = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], 1e-3)
    hr = F.interpolate(torch.rand(3, 3, 9, 9), (36, 36), mode="bicubic").clamp(0, 1)
    batch = Batch(F.avg_pool2d(hr, 2), hr, [])
    for step in range(steps):
        module.before_step(step)
        optimiser.zero_grad()
        torch.stack(list(module(batch.lr, batch.hr, source.outputs(batch)).values())).sum().backward()
        optimiser.step()
    return module


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fakd", {"channel_weight": 0.1}),
        *((name, {}) for name in ("fitnet", "at", "sp", "rkd", "vid", "srkd", "hkdsr", "hkdsr+")),
        ("rkd", {"on": "features"}),
    ],
)
def test_methods_train_by_features_and_exits_as_with_our_own_network(name: str, settings: dict[str, Any]) -> None:
    """The same weights in our RCAN and in spandrel's teach the same, up to rounding."""
    own, teacher = rcan()
    before = copy.deepcopy(teacher.state_dict())
    module, reference = trained(name, settings, teacher), trained(name, settings, own)
    for parameter_name, parameter in module.student.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    for found, expected in zip(module.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(found, expected, atol=2e-4), name


def test_methods_that_run_parts_are_refused_with_a_remedy() -> None:
    _, teacher = rcan()
    message = refusal(lambda: trained("mipkd", {}, teacher))
    assert "spandrel networks run only as a whole: choose another method" in message


@pytest.mark.parametrize("size", [(32, 32), (37, 53), (16, 16), (5, 9)])
@pytest.mark.parametrize(
    ("label", "first", "blocks", "channels"),
    [
        ("SPAN", "block_1", 6, 16),
        ("ESRGAN x2", "model.1.sub.0", 3, 8),
        ("PLKSR", "feats.1", 3, 16),
        ("DCTLSA", "B1", 6, 15),
        ("SeemoRe", "body.0", 3, 16),
    ],
)
def test_trunks_are_found_and_tapped_at_any_size(
    label: str, first: str, blocks: int, channels: int, size: tuple[int, int]
) -> None:
    """Runs of attributes, at half the size, convolutional, of transformers, and one that runs single images only."""
    network, x = made(label), torch.rand(2, 3, *size)
    assert network.model.get_submodule(first) is network.blocks[0]
    assert (len(network.blocks), network.channels) == (blocks, channels)
    with torch.no_grad():
        traced = network.trace(x, range(blocks))
        assert torch.equal(traced.sr, network(x))
        alone = torch.cat([network(image) for image in x.split(1)])
    assert traced.sr.shape == (2, 3, network.scale * size[0], network.scale * size[1])
    assert {tap.shape for tap in (traced.shallow, *traced.taps)} == {(2, channels, *size)}
    assert torch.allclose(traced.sr, alone, atol=1e-5 * float(alone.abs().max()))


def test_taps_at_half_size_lie_where_the_image_does() -> None:
    """After pixel-unshuffle a change of one pixel reaches the features around it, and no others."""
    network = made("ESRGAN x2")
    x = torch.rand(1, 3, 64, 64)
    changed = x.clone()
    changed[..., 20, 44] += 0.5
    with torch.no_grad():
        difference = (network.trace(changed, (0,)).shallow - network.trace(x, (0,)).shallow).abs().sum((0, 1))
    rows, columns = (difference.sum(axis).argmax().item() for axis in (1, 0))
    assert abs(rows - 20) <= 1
    assert abs(columns - 44) <= 1
    assert not difference[:12].any()
    assert not difference[:, 54:].any()


def test_networks_called_in_their_own_way() -> None:
    """MMRealSR returns a tuple; IPT runs on overlapping patches, so that its blocks never see a whole image."""
    for label, blocks in (("MMRealSR", 23), ("IPT", 0)):
        descriptor = described(label)
        network = SpandrelNetwork(descriptor)
        x = torch.rand(2, 3, 17, 23)
        with torch.no_grad():
            sr = network(x)
            expected = torch.cat([descriptor(image.clone()) for image in x.split(1)])  # clamped
        assert sr.shape == (2, 3, network.scale * 17, network.scale * 23)
        assert torch.allclose(sr.clamp(0, 1), expected, atol=1e-5)
        assert 0.1 < expected.mean() < 0.9
        assert len(network.blocks) == blocks


def test_a_u_net_has_no_trunk() -> None:
    network = made("RealCUGAN x2")
    assert not network.blocks
    assert network(torch.rand(1, 3, 17, 23)).shape == (1, 3, 34, 46)
    message = refusal(lambda: Exits(network, DEPTHS))
    assert message.startswith("RealCUGAN has no trunk, like a U-Net")
    assert refusal(lambda: trained("fakd", {}, network)) == message


def test_a_network_that_spandrel_builds_wrongly_is_named() -> None:
    """spandrel guesses the number of attention heads of DCTLSA, 5, and MMRealSR's x2 fails in its own code."""
    for label in ("DCTLSA of 16 channels", "MMRealSR x2"):
        message = refusal(lambda label=label: made(label))
        assert message.startswith(f"{label.split()[0]} fails on an image of 32x32 as spandrel builds it")


def test_the_committed_table_has_every_case() -> None:
    lines = (Path(__file__).parents[1] / "docs" / "spandrel.md").read_text("utf-8").splitlines()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    labels = [row for row in rows if row not in ("architecture", "---")]
    assert labels == [case.label for case in (*CASES, *RUN_ONLY)]


def test_modules_that_run_twice_and_details_are_no_trunk() -> None:
    class Block(nn.Module):
        def __init__(self, channels: int = 4) -> None:
            super().__init__()
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x + self.conv(x), x

    class Net(nn.Module):
        def __init__(self, repeats: int, heavy: int) -> None:
            super().__init__()
            self.lift = nn.Conv2d(3, 4, 3, padding=1)
            self.first, self.second = Block(), Block()
            self.repeats, self.heavy = repeats, nn.Linear(heavy, heavy)

        def forward(self, x: Tensor) -> Tensor:
            x = self.lift(x)
            for _ in range(self.repeats):
                x, _ = self.first(x)
                x, _ = self.second(x)
            return x

    for repeats, heavy, expected in ((1, 1, 2), (2, 1, 0), (1, 100, 0)):
        net = Net(repeats, heavy)
        with torch.no_grad(), recording(net.modules()) as calls:
            net(torch.rand(1, 3, 8, 8))
        anatomy = explore(net, calls)
        assert anatomy is not None
        assert len(anatomy.trunk) == expected
        assert anatomy.lift is net.lift


def test_a_file_teaches_a_recipe(tmp_path: Path) -> None:
    """From the file to a student with exits."""
    teacher = made("DCTLSA")
    torch.save(teacher.model.state_dict(), tmp_path / "teacher.pth")
    recipe = tiny.exits(tiny.recipe(tmp_path, HKDSR(), steps=3), stage1_steps=2)
    result = distill(dataclasses.replace(recipe, teacher=str(tmp_path / "teacher.pth")))
    assert result.steps == 3
