"""Networks of users' own, in the styles people write them: ``tests/networks``."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

import hkdsr
from hkdsr.nets.files.load import load
from hkdsr.nets.wrapped import WrappedNetwork

FOLDER = Path(__file__).parent / "networks"
OWN = {
    "plain": "plain.py:Plain",
    "loads weights": "loads_weights.py:pretrained",
    "0..255": "range255.py:Shifted",
    "multiples of 8": "multiples.py:Windows",
    "tuple": "returns_tuple.py:Pair:scale=2",
    "switches": "switches.py:Switching",
}

NET = """
import torch
from torch import Tensor, nn

class Net(nn.Module):
    def __init__(self, scale=2, features=4, sharp=False, kind="a"):
        super().__init__()
        self.seen = (scale, features, sharp, kind)
        self.a = nn.Conv2d(3, features, 3, padding=1)
        self.b = nn.Conv2d(features, 3 * scale ** 2, 3, padding=1)
        self.up = nn.PixelShuffle(scale)

    def forward(self, x):
        return self.up(self.b(self.a(x)))

"""
"""A file with a small network that keeps what it was given."""


def name(style: str) -> str:
    """What a user types."""
    return f"{FOLDER}/{OWN[style]}"


def own(style: str) -> WrappedNetwork:
    """The network, always with the same weights."""
    torch.manual_seed(0)
    network = load(name(style), 2)
    assert isinstance(network, WrappedNetwork)
    return network


def model(style: str) -> nn.Module:
    """The user's module alone."""
    return own(style).model.eval()


def written(folder: Path, text: str, file: str = "net.py") -> Path:
    """A Python file with this text."""
    path = folder / file
    path.write_text(text)
    return path


def copied(folder: Path, file: str = "plain.py") -> Path:
    """A copy of one of the files, to change it."""
    return Path(shutil.copy(FOLDER / file, folder / file))


class Net(nn.Module):
    """A network for tests that replace its parts."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3 * scale**2, 3, padding=1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), self.scale)


def wrapped(module: nn.Module) -> WrappedNetwork:
    network = hkdsr.wrap(module)
    assert isinstance(network, WrappedNetwork)
    return network
