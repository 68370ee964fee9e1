"""A network without blocks for tests, which only have to say how it makes the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from hkdsr.nets.base import Network


class StubNetwork(Network):
    """A subclass defines ``shallow`` and ``reconstruct``."""

    family: ClassVar[str] = "stub"

    @property
    def channels(self) -> int:
        return 3

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return ()

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {}

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> None:
        return None
