"""The size of features, and heads that compare one tap."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from small import SMALL, small
from torch import Tensor, nn

from hkdsr.data import rgb
from hkdsr.data.embedded import demo_files
from hkdsr.errors import HkdsrError
from hkdsr.losses.taps import EPS, Comparable, Gaussian, Laplace, feature_sizes
from hkdsr.nets.files.load import load

DEPTHS = (1 / 3, 2 / 3, 1.0)
WEIGHTS = (
    "SMFANet/SMFANet_plus_DF2K_100w_x2SR.pth",
    "BSRN/BSRN_x2.pth",
    "RLFN/rlfn_x2.pth",
    "IMDN/IMDN_x2.pth",
    "HiT-SRF/HiT-SRF-x4.pth",
)


def crops() -> Tensor:
    """Four pieces of photographs: (4, 3, 48, 48)."""
    images = [rgb(path) for path in list(demo_files()[0].values())[:4]]
    return torch.stack([torch.from_numpy(p[80:128, 120:168].copy()).permute(2, 0, 1) / 255 for p in images])


@pytest.mark.parametrize("family", SMALL)
def test_sizes_of_every_family(family: str) -> None:
    network = small(family)
    state = torch.get_rng_state()
    sizes = feature_sizes(network, DEPTHS)
    assert sizes == feature_sizes(network, DEPTHS)
    assert torch.equal(state, torch.get_rng_state())
    assert len(sizes) == 3
    assert all(0 < size < math.inf for size in sizes)
    assert feature_sizes(network, DEPTHS[::-1]) == sizes[::-1]


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_synthetic_image_measures_as_photographs_do(name: str, shared: Path) -> None:
    """Among these networks and depths sizes differ by more than a factor of 10 000."""
    if not (shared / "weights" / name).exists():
        pytest.skip(f"{name} is not at {shared / 'weights'}")
    network = load(shared / "weights" / name)
    with torch.no_grad():
        taps = network.trace(crops(), [network.tap_index(depth) for depth in DEPTHS]).taps
    for size, tap in zip(feature_sizes(network, DEPTHS), taps, strict=True):
        assert 1 / 3 < size / float(tap.square().mean().sqrt()) < 3


def test_dead_features_have_size_1() -> None:
    network = small("edsr")
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    assert feature_sizes(network, DEPTHS) == [1.0, 1.0, 1.0]


def test_a_wrong_depth_is_refused() -> None:
    with pytest.raises(HkdsrError, match=r"^tap depth is 1\.5: "):
        feature_sizes(small("compact"), (1.5,))


def test_comparable_units() -> None:
    student, teacher = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    own, target = Comparable(nn.Identity(), (5.0, 2.0))(student, teacher)
    torch.testing.assert_close(own, student / 2)
    torch.testing.assert_close(target, teacher / 2)
    layer = nn.Conv2d(3, 3, 1)
    own, target = Comparable(layer, (5.0, 2.0))(student, teacher)
    torch.testing.assert_close(own, layer(student / 5))
    torch.testing.assert_close(target, teacher / 2)


def test_sizes_are_saved() -> None:
    first, second = Comparable(nn.Identity(), (5.0, 2.0)), Comparable(nn.Identity(), (1.0, 1.0))
    second.load_state_dict(first.state_dict())
    assert float(second.size) == 2


@pytest.mark.parametrize("kind", [Gaussian, Laplace])
def test_a_density_is_one(kind: type[Gaussian] | type[Laplace]) -> None:
    """The likelihood of one channel at one place, summed over all that the teacher may say, is 1 but for constants."""
    head = kind((2, 1), (1.5, 1.0)).double()
    student = torch.randn(1, 2, 1, 1, dtype=torch.float64)
    values = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    with torch.no_grad():
        densities = torch.stack([(-head(student, value.reshape(1, 1, 1, 1))).exp() for value in values])
    constant = math.sqrt(2 * math.pi) if kind is Gaussian else 1.0
    assert torch.trapezoid(densities, values).item() == pytest.approx(constant, rel=1e-3)


def test_variances_start_at_1() -> None:
    head = Gaussian((4, 3), (1.0, 1.0))
    variance = nn.functional.softplus(head.scale) + EPS
    torch.testing.assert_close(variance, torch.ones(3, 1, 1), atol=2 * EPS, rtol=0)


@pytest.mark.parametrize("kind", [Gaussian, Laplace])
def test_training_makes_a_useless_head_a_good_one(kind: type[Gaussian] | type[Laplace]) -> None:
    """Told by the student in part: the second channel of the teacher is noise, and its variance says so."""
    head = kind((3, 2), (1.0, 1.0))
    student = torch.randn(4, 3, 12, 12)
    teacher = torch.stack([0.5 * student[:, 0] - student[:, 2], torch.randn(4, 12, 12)], 1)
    optimiser = torch.optim.Adam(head.parameters(), 0.05)
    first = head(student, teacher).item()
    for _ in range(150):
        optimiser.zero_grad()
        head(student, teacher).backward()
        optimiser.step()
    assert head(student, teacher).item() < first - 0.5
    if isinstance(head, Gaussian):
        told, noise = head.scale.flatten().tolist()
        assert told < noise - 1
