"""What a recipe may change about its teacher: its taps, and its scale, by reducing its images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from hkdsr.data.resize import imresize
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import SCALES, Network, Traced, in_full_precision
from hkdsr.nets.explored import ExploredNetwork
from hkdsr.nets.files.load import load
from hkdsr.nets.opaque import OpaqueNetwork
from hkdsr.nets.sanity import name_of


class ReducedNetwork(OpaqueNetwork):
    """``network`` with its images reduced by ``by``, by the bicubic reduction that makes LR images.

    Its features are those of ``network``, at the LR size. Exits are heads at the reduced scale.
    """

    family = "reduced"

    def __init__(self, network: Network, by: int) -> None:
        super().__init__(network.scale // by)
        self.network, self.by = network, by
        self.name = f"{name_of(network)} (reduced by {by})"
        self.pad_multiple = network.pad_multiple
        self.runs_in_pytorch = network.runs_in_pytorch  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def channels(self) -> int:
        """Those of the network."""
        return self.network.channels

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.blocks

    @property
    def counted(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.counted

    @property
    def settings(self) -> dict[str, int | float | str]:
        """Those of the network, at the reduced scale. They do not rebuild it."""
        return {**self.network.settings, "scale": self.scale, "reduced": self.by}

    @property
    def notes(self) -> Sequence[str]:
        """Those of the network."""
        return self.network.notes

    def tap_index(self, depth: float) -> int:
        """That of the network, which raises HkdsrError where it has no trunk."""
        return self.network.tap_index(depth)

    def forward(self, x: Tensor) -> Tensor:
        return self._reduced(self.network(x))

    def trace(self, x: Tensor, taps: Sequence[int]) -> Traced:
        """As in ``Network``, with the image reduced."""
        traced = self.network.trace(x, taps)
        return dataclasses.replace(traced, sr=self._reduced(traced.sr))

    def _reduced(self, sr: Tensor) -> Tensor:
        return in_full_precision(lambda image: imresize(image, 1 / self.by), sr)


def load_teacher(name: str | Path, scale: int, taps: Sequence[str] = (), reduce: int = 1) -> Network:
    """The teacher ``name`` for students of ``scale``, as ``load`` and ``as_teacher`` make it."""
    return as_teacher(load(name, scale * reduce), str(name), taps, reduce)


def as_teacher(network: Network, name: str, taps: Sequence[str] = (), reduce: int = 1) -> Network:
    """``network``, called ``name``, with the modules at the paths ``taps`` as its taps and its images reduced.

    Raises HkdsrError for taps that ``ExploredNetwork.choose_taps`` refuses, for a network whose taps cannot be chosen,
    and if ``reduce`` leaves another scale than 2, 3 or 4.
    """
    if taps:
        if not isinstance(network, ExploredNetwork):
            raise HkdsrError(
                f"teacher_taps is set but {name} is of the family {network.family}, whose taps are its blocks, if any: "
                "leave it out"
            )
        network.choose_taps(taps)
    if reduce == 1:
        return network
    if network.scale % reduce or network.scale // reduce not in SCALES:
        raise HkdsrError(
            f"teacher_reduce is {reduce} but {name} is a x{network.scale} network, whose images do not become x2, x3 "
            "or x4 so: leave it out, or choose another teacher"
        )
    return ReducedNetwork(network, reduce).eval()
