"""Networks that run only as a whole: their parts cannot be called one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar, NoReturn

from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network


class OpaqueNetwork(Network):
    """A network called ``name`` that can teach and upscale, but runs only as a whole: parts raise HkdsrError."""

    trainable = False
    runs_in_parts = False
    without_taps: ClassVar[str]
    """Why a network of this class without ``blocks`` cannot be tapped, for the message of ``tap_index``."""
    name: str

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        """None: files of such networks are not recognised by their state dict."""
        return None

    def tap_index(self, depth: float) -> int:
        """As in ``Network``; raises HkdsrError also for a network without ``blocks``."""
        if not self.blocks:
            raise HkdsrError(f"{self.name} {self.without_taps}: choose a method that compares images only")
        return super().tap_index(depth)

    def shallow(self, x: Tensor) -> Tensor:
        """Raises HkdsrError, as ``run_trunk`` and ``reconstruct`` do: use ``trace``."""
        self._refuse_parts()

    def run_trunk(self, shallow: Tensor, keep: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        self._refuse_parts()

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        self._refuse_parts()

    def _refuse_parts(self) -> NoReturn:
        raise HkdsrError(f"{self.name} runs only as a whole: choose a method that does not run parts of its teacher")
