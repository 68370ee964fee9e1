"""Networks of users' own, in the styles people write them: ``tests/networks``."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import nn

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
