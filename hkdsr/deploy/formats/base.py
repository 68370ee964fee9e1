"""What a format is: how a network is written in it, how the file is opened again, and what it may do to images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hkdsr.deploy.gate import FLOAT, Gate
from hkdsr.nets.base import Network

Files = dict[str, bytes]
"""The contents of the files that a network is exported to, by suffix, or by path in a folder. The first is the one that
people open, and names the others."""


@dataclass(frozen=True)
class Format:
    """A format that networks are exported to.

    Attributes:
        name: for ``hkdsr export -f``.
        label: what messages call it.
        suffix: of the file that people name; empty for a folder.
        weights: suffix of the file beside it that holds the weights, or None where there is one file.
        runtime: what opens it, in messages too.
        write: the files of a network, which is on the CPU, in float32 and frozen. Raises HkdsrError if packages are
            missing, or if the format cannot hold the network.
        open: the network of such a file. Raises HkdsrError for others.
        gate: what the file may do to images.
        folder: whether the files are those of a folder, which people name.
        size: height and width of the LR images that the file takes, or None where it takes any.
        quantise: as ``write``, for numbers of 8 bits, whose ranges are found on LR crops, uint8 (h, w, 3), but for so
            many of the last convolutions; None where there is no such thing.
    """

    name: str
    label: str
    suffix: str
    weights: str | None
    runtime: str
    write: Callable[[Network], Files]
    open: Callable[[Path], Network]
    gate: Gate = FLOAT
    folder: bool = False
    size: tuple[int, int] | None = None
    quantise: Callable[[Network, Sequence[np.ndarray], int], Files] | None = None

    def place(self, target: Path, part: str) -> Path:
        """Where the content that ``Files`` calls ``part`` goes, if people name ``target``."""
        return target / part if self.folder else target.with_suffix(part)

    def target(self, network: Path) -> Path:
        """What to write where nothing is named, for the network in a file of this name."""
        return network.with_name(f"{network.stem}_{self.name}") if self.folder else network.with_suffix(self.suffix)
