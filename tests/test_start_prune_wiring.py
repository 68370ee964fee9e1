"""The wiring of every family: mixing the channels of its groups, undone in the layers around, changes no image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small import SMALL, scattered
from torch import Tensor

from hkdsr.nets import FAMILIES
from hkdsr.nets.files.load import build
from hkdsr.nets.start.prune.cut import fill
from hkdsr.nets.start.prune.families import WIRINGS, wiring
from hkdsr.nets.start.prune.wiring import Group, Wiring

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")

MORE = {
    **SMALL,
    "imdn": "imdn:features=32,blocks=2",
    "bsrn": "bsrn:features=32,blocks=2",
    "hitsrf": "hitsrf:features=48,groups=1,blocks=3,heads=2,mlp_dim=10",
    "swinir": "swinir:features=8,groups=2,blocks=2,heads=2",
}


def is_end(wires: Wiring, group: Group) -> bool:
    """The colours, the image, and the heads of a position bias: written or read by one layer, and else by nothing."""
    sides = [layer.inputs for layer in wires.readers(group)] + [layer.outputs for layer in wires.writers(group)]
    return sum(part.group is group for side in sides for part in side) == 1


def permuted(group: Group) -> Tensor:
    return torch.eye(group.size, dtype=torch.float64)[:, torch.randperm(group.size)]


def rotated(group: Group) -> Tensor:
    if not group.rotates:
        return permuted(group)
    return torch.linalg.qr(torch.randn(group.size, group.size, dtype=torch.float64)).Q


def test_every_family_has_a_wiring() -> None:
    assert {family.family for family in WIRINGS} == FAMILIES.keys()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("basis", [permuted, rotated])
@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_channels_give_the_same_images(family: str, basis: Callable[[Group], Tensor], scale: int) -> None:
    teacher, student = scattered(MORE[family], scale), build(MORE[family], scale).double().eval()
    student.load_state_dict(teacher.state_dict())
    wires = wiring(teacher)
    ends = {group for group in wires.groups if is_end(wires, group)}
    bases = {
        group: torch.eye(group.size, dtype=torch.float64) if group in ends else basis(group) for group in wires.groups
    }
    fill(wiring(student), wires, bases)
    image = torch.rand(1, 3, 24, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = teacher(image)
        assert expected.std() > 1e-3
        torch.testing.assert_close(student(image), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_has_its_channels(family: str) -> None:
    """What the wiring leaves out depends on no width: tables of positions, and maps of a fixed size."""
    network = build(MORE[family], 2)
    wires = wiring(network)
    known = {parameter for layer in wires.layers for parameter in layer.module.parameters()}
    known |= {parameter for parameter, _, _ in wires.each}
    left = {name.rpartition(".")[0].rpartition(".")[2] for name, p in network.named_parameters() if p not in known}
    assert left <= {"attn", "spatial_linear"}
