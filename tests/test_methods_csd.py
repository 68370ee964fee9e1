"""CSD: its formula restated, by the teacher's taps and by VGG19, and the pairs that it is defined for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SMALL, pth, refusal, scattered
from torch import Tensor, nn

from hkdsr.data import imresize
from hkdsr.errors import HkdsrError
from hkdsr.losses.vgg import VGG19
from hkdsr.methods import Logits, compose
from hkdsr.methods.csd import CSD, require_slice
from hkdsr.methods.inputs import LossInputs
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Outputs
from hkdsr.nets.files.load import build
from hkdsr.studies.study import described

STUDENT, TEACHER = "edsr:features=3,blocks=4", "edsr:features=5,blocks=4"
SIDE = 8


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return pth(tmp_path_factory.mktemp("vgg"), VGG19().state_dict())


def networks() -> tuple[Network, Network]:
    return scattered(STUDENT), scattered(TEACHER).requires_grad_(False)


def lesson_of(student: Network, teacher: Network, count: int = 4, dtype: torch.dtype = torch.float64) -> LossInputs:
    lr = torch.rand(count, 3, SIDE, SIDE, dtype=dtype)
    hr = torch.rand(count, 3, 2 * SIDE, 2 * SIDE, dtype=dtype)
    return LossInputs(lr, hr, Outputs(student(lr)), Outputs(teacher(lr)), student, (teacher,))


def restated(inputs: LossInputs, f: list[nn.Module], weights: list[float], K: int) -> float:
    """The contrast of the module's docstring, image by image."""
    assert inputs.teacher is not None
    S, T, enlarged = inputs.student.final, inputs.teacher.final, imresize(inputs.lr, 2.0).clamp(0, 1)
    total = 0.0
    for layer, weight in zip(f, weights, strict=True):
        d: list[float] = []
        far: list[float] = []
        for index in range(len(S)):
            others = [(index - shift) % len(S) for shift in range(1, K + 1)]
            assert index not in others
            own = layer(S[index : index + 1])
            d.append(float((own - layer(T[index : index + 1])).abs().mean()))
            far.append(sum(float((own - layer(enlarged[k : k + 1])).abs().mean()) for k in others))
        total += weight * (sum(d) / len(d)) / (sum(far) / len(far) + 1e-7)
    return total


class Tap(nn.Module):
    """EDSR's features behind its first ``count`` blocks, of the part of an image that starts at ``corner``."""

    def __init__(self, network: Network, count: int, corner: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.count, self.corner = network, count, corner

    def forward(self, image: Tensor) -> Tensor:
        top, left = self.corner
        features = self.network.shallow(image[..., top : top + SIDE, left : left + SIDE])
        for block in list(self.network.blocks)[: self.count]:
            features = block(features)
        return features


@pytest.mark.parametrize(("changed", "K"), [({}, 3), ({"negatives": 2, "contrast_weight": 0.7}, 2)])
@torch.no_grad()
def test_formula_by_the_teachers_taps(changed: dict[str, Any], K: int) -> None:
    method = CSD(**changed, depths=(0.5, 0.75, 1.0), pixel_weight=2.0)
    student, teacher = networks()
    inputs = lesson_of(student, teacher)
    torch.manual_seed(5)
    found = method.losses(None, inputs)
    torch.manual_seed(5)
    corner = (int(torch.randint(SIDE + 1, ())), int(torch.randint(SIDE + 1, ())))
    taps: list[nn.Module] = [Tap(teacher, count, corner) for count in (2, 3, 4)]
    assert found.keys() == {"pixel", "contrast"}
    expected = restated(inputs, taps, [1 / 8, 1 / 4, 1], K)
    assert found["contrast"].item() == pytest.approx(method.contrast_weight * expected, rel=1e-9)
    assert found["pixel"].item() == pytest.approx(2 * (inputs.student.final - inputs.hr).abs().mean().item(), rel=1e-12)


@torch.no_grad()
def test_formula_by_vgg(weights: Path) -> None:
    """On whole images."""
    method = CSD(features=str(weights))
    student, teacher = networks()
    inputs = lesson_of(student, teacher, count=2)
    network = VGG19().double()
    network.load_state_dict(torch.load(weights, weights_only=True))

    class Layer(nn.Module):
        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

        def forward(self, image: Tensor) -> Tensor:
            return network(image)[self.index]

    expected = restated(inputs, [Layer(i) for i in range(5)], [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1], 1)
    found = method.losses(None, inputs)["contrast"].item()
    assert found == pytest.approx(method.contrast_weight * expected, rel=1e-9)


def test_no_contrast_where_the_student_is_the_teacher() -> None:
    _, teacher = networks()
    student = copy.deepcopy(teacher).requires_grad_()
    CSD().heads(student, (teacher,), 0)
    assert CSD().losses(None, lesson_of(student, teacher))["contrast"].item() == 0


@pytest.mark.parametrize("by_vgg", [False, True])
def test_only_the_student_learns(by_vgg: bool, weights: Path) -> None:
    method = CSD(features=str(weights)) if by_vgg else CSD()
    student, teacher = networks()
    before = copy.deepcopy(teacher.state_dict())
    method.losses(None, lesson_of(student, teacher))["contrast"].backward()
    assert all(p.grad is not None and p.grad.any() for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_the_feature_network_is_told() -> None:
    assert described(CSD()) == "csd (features of the teacher)"
    assert described(CSD(features="vgg19.pth")) == "csd (features vgg19.pth, features of VGG19)"


def test_features_that_are_not_there_are_found_before_training(tmp_path: Path) -> None:
    student, teacher = networks()
    method = CSD(features=str(tmp_path / "vgg19.pth"))
    assert "which is no file: " in refusal(lambda: method.heads(student, (teacher,), 0))


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        (STUDENT, TEACHER),
        (TEACHER, TEACHER),
        ("rcan:groups=2,blocks=2,features=4,reduction=4", "rcan:groups=2,blocks=2,features=8,reduction=4"),
        ("smfanet:dim=8,blocks=2", "smfanet:dim=12,blocks=2"),
        ("swinir:features=4,groups=2,blocks=2,heads=2", "swinir:features=8,groups=2,blocks=2,heads=2"),
    ],
)
def test_slices_are_accepted_and_left_alone(student: str, teacher: str) -> None:
    own, other = build(student, 2), build(teacher, 2)
    before = copy.deepcopy(own.state_dict())
    require_slice(own, other)
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


@pytest.mark.parametrize(
    ("student", "teacher", "told"),
    [
        ("edsr:features=3,blocks=3", TEACHER, "only one of them has body."),
        ("edsr:features=3,blocks=5", TEACHER, "the student's trunk has 5 blocks"),
        ("edsr:features=6,blocks=4", TEACHER, "body.0.body.0.weight is (6, 6, 3, 3) in the student"),
        ("edsr:features=3,blocks=4,res_scale=0.5", TEACHER, "res_scale is 0.5 in the student"),
        (SMALL["compact"], TEACHER, "the teacher is of family edsr"),
        (
            "rcan:groups=2,blocks=1,features=4,reduction=4",
            "rcan:groups=2,blocks=2,features=8,reduction=4",
            "only one of them has body.0.body.",
        ),
    ],
)
def test_other_pairs_are_refused(student: str, teacher: str, told: str) -> None:
    message = refusal(lambda: require_slice(build(student, 2), build(teacher, 2)))
    assert message.startswith(f"csd takes a student that is its teacher with fewer channels, but {told}")
    assert message.count(": ") == 1
    assert "init" not in message


def test_a_single_image_has_no_negatives() -> None:
    with pytest.raises(HkdsrError, match=r"^csd compares the images of a batch and was given 1: "):
        CSD().losses(None, lesson_of(*networks(), count=1))


@pytest.mark.parametrize("changed", [{"negatives": 0}, {"contrast_weight": -1.0}, {"depths": (0.0,)}])
def test_wrong_settings_are_refused(changed: dict[str, Any]) -> None:
    assert refusal(lambda: CSD(**changed)).startswith(f"method.{next(iter(changed))} is ")


def test_it_composes() -> None:
    both = compose(CSD(), Logits())
    assert both.uses_networks
    student, teacher = networks()
    heads = both.heads(student, (teacher,), 0)
    assert both.losses(heads, lesson_of(student, teacher)).keys() == {"pixel", "contrast", "logits"}
