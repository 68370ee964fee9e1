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
