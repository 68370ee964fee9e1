"""The contrastive loss, and VGG19 beside torchvision's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import pth, refusal
from torch import Tensor, nn

from hkdsr.losses.contrast import contrast
from hkdsr.losses.vgg import KEPT, VGG19, vgg19

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file laid out as torchvision's, with random weights."""
    torch.manual_seed(0)
    state = VGG19().state_dict()
    return pth(tmp_path_factory.mktemp("vgg"), {**state, "classifier.6.bias": torch.zeros(1000)})


def maps(*channels: int) -> list[Tensor]:
    return [torch.randn(2, count, 4, 3, dtype=torch.float64) for count in channels]


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_formula(layers: int) -> None:
    """Written out, with the weights of both papers."""
    anchor, positive, *negatives = (maps(*range(1, layers + 1)) for _ in range(5))
    weights = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1][-layers:]
    total = 0.0
    for i in range(layers):
        near = (positive[i] - anchor[i]).abs().mean()
        far = sum((n[i] - anchor[i]).abs().mean() for n in negatives)
        total += weights[i] * near / (far + 1e-7)
    assert contrast(anchor, positive, negatives).item() == pytest.approx(float(total), rel=1e-12)


def test_only_the_anchor_has_a_gradient() -> None:
    anchor, positive, negative = ([m.requires_grad_() for m in maps(2, 3)] for _ in range(3))
    contrast(anchor, positive, [negative]).backward()
    assert all(m.grad is not None and m.grad.any() for m in anchor)
    assert all(m.grad is None for m in positive + negative)


def test_gradient_leads_to_the_positive_and_away_from_the_negatives() -> None:
    anchor = torch.zeros(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    one = torch.ones_like(anchor)
    (grad,) = torch.autograd.grad(contrast([anchor], [one], [[-one]]), anchor)
    assert grad.item() == pytest.approx(-2, rel=1e-6)  # of (1 - a) / (1 + a)


def test_equal_to_positive_and_negative_is_zero() -> None:
    same = maps(2, 3)
    assert contrast(same, same, [same]).item() == 0
    assert contrast(same, same, [maps(2, 3)]).item() == 0


def test_vgg_is_torchvisions(weights: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        theirs = models.vgg19(weights=None).features
    state = torch.load(weights, weights_only=True)
    theirs.load_state_dict(
        {name.removeprefix("features."): w for name, w in state.items() if "features" in name}, False, True
    )
    images = torch.rand(2, 3, 33, 20)
    mean, deviation = (torch.tensor(c)[:, None, None] for c in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    features, expected = (images - mean) / deviation, []
    with torch.no_grad():
        for index, layer in enumerate(theirs[: KEPT[-1] + 1]):
            features = layer(features)
            if index in KEPT:
                assert isinstance(layer, nn.ReLU)
                expected.append(features.clone())
        found = vgg19(str(weights), CPU, torch.float32)(images)
    assert [m.shape[1] for m in found] == [64, 128, 256, 512, 512]
    for own, other in zip(found, expected, strict=True):
        assert torch.equal(own, other)


def test_vgg_is_read_once_and_frozen(weights: Path) -> None:
    network = vgg19(str(weights), CPU, torch.float32)
    assert vgg19(str(weights), CPU, torch.float32) is network
    assert not any(parameter.requires_grad for parameter in network.parameters())
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    (grad,) = torch.autograd.grad(network(images)[-1].sum(), images)
    assert grad.any()


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    def read(path: Path) -> str:
        return refusal(lambda: vgg19(str(path), CPU, torch.float32))

    assert read(tmp_path / "none.pth").startswith(f"method.features is '{tmp_path / 'none.pth'}', which is no file: ")
    other = pth(tmp_path, {"features.0.weight": torch.zeros(1)})
    assert read(other).startswith(f"{other} does not hold torchvision's VGG19: ")
    (tmp_path / "torn.pth").write_bytes(b"torn")
    assert "torn.pth" in read(tmp_path / "torn.pth")


def test_a_file_of_other_shapes_is_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        names = list(VGG19().state_dict())
    path = pth(tmp_path, {name: torch.zeros(1) for name in names})
    assert "VGG19" in refusal(lambda: vgg19(str(path), CPU, torch.float32))


def test_images_too_small_for_vgg_are_refused(weights: Path) -> None:
    network = vgg19(str(weights), CPU, torch.float32)
    assert "15x40" in refusal(lambda: network(torch.rand(1, 3, 15, 40)))
