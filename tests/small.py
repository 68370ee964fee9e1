"""A small network of every family, four blocks deep, and what tests of their files need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hkdsr.data import rgb
from hkdsr.data.embedded import demo_files
from hkdsr.errors import HkdsrError
from hkdsr.nets import Network
from hkdsr.nets.files.load import build

SMALL = {
    "bsrn": "bsrn:features=16,blocks=4",
    "compact": "compact:features=8,convs=4",
    "edsr": "edsr:features=8,blocks=4,res_scale=0.5",
    "hitsrf": "hitsrf:features=32,groups=4,blocks=2,heads=2,mlp_dim=16",
    "hpinet": "hpinet:dim=8,blocks=4,layers=1,qk_dim=4,mlp_dim=8",
    "imdn": "imdn:features=16,blocks=4",
    "msrresnet": "msrresnet:features=8,blocks=4",
    "rcan": "rcan:groups=4,blocks=1,features=8,reduction=4",
    "rlfn": "rlfn:features=8,blocks=4,esa_channels=4",
    "smfanet": "smfanet:dim=8,blocks=4,ffn_scale=1.5",
    "span": "span:features=8,blocks=4,norm=1",
    "swinir": "swinir:features=8,groups=4,blocks=2,heads=2,upsampler=pixelshuffledirect",
}


def small(family: str, scale: int = 2) -> Network:
    """In eval mode, with fresh weights."""
    return build(SMALL[family], scale).eval()


def scattered(description: str, scale: int = 2, std: float = 0.4) -> Network:
    """A network in float64 with weights far from zero, so that no layer goes unnoticed in the image."""
    network = build(description, scale).double().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=std)
    return network


def crops(size: int = 24) -> Tensor:
    """Crops (2, 3, size, size) of photographs, in [0, 1] and float64."""
    images = [rgb(path)[90 : 90 + size, 120 : 120 + size] for path in list(demo_files()[0].values())[:2]]
    return torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1).double() / 255 for image in images])


def pth(folder: Path, content: object) -> Path:
    """A file ``net.pth`` with this content."""
    file = folder / "net.pth"
    torch.save(content, file)
    return file


def refusal(action: Callable[[], object]) -> str:
    """What the user is told, which is one sentence with a remedy."""
    with pytest.raises(HkdsrError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert ": " in message or "; " in message  # the remedy
    return message


def check_any_size(network: Network, x: Tensor, atol: float | None = None, rtol: float | None = None) -> None:
    """Each of two images (2, 3, h, w) gets an image of its own, scale times as large, and is not changed."""
    before = x.clone()
    with torch.inference_mode():
        both = network(x)
        single = torch.cat([network(x[:1]), network(x[1:])])
    assert torch.equal(x, before)
    assert both.shape == (2, 3, network.scale * x.shape[2], network.scale * x.shape[3])
    assert both.isfinite().all()
    torch.testing.assert_close(both, single, atol=atol, rtol=rtol)


def check_gradient(network: Network, height: int, width: int) -> None:
    """The gradient for an image of this size is the slope of a x2 network in float64, in a random direction."""
    x = torch.rand(1, 3, height, width, dtype=torch.float64, requires_grad=True)
    direction, weights = torch.randn_like(x), torch.randn(1, 3, 2 * height, 2 * width, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((network(x) * weights).sum(), x)
    step = 1e-6 * direction
    with torch.no_grad():
        slope = ((network(x + step) - network(x - step)) * weights).sum() / 2e-6
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-4)
