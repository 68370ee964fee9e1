"""Networks that run only as a whole: their parts cannot be called one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NoReturn

from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network


class OpaqueNetwork(Network):
    """A network called ``name`` that teaches and enlarges, but only as a whole: running a part raises HkdsrError."""

    trainable = False
    runs_in_parts = False
    name: str

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, int | float | str] | None:
        """None: such files are known by other means than the names in a state dict."""
        return None

    def shallow(self, x: Tensor) -> Tensor:
        """Raises HkdsrError, as ``run_trunk`` and ``reconstruct`` do: use ``trace``."""
        self._refuse_parts()

    def run_trunk(self, shallow: Tensor, keep: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        self._refuse_parts()

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        self._refuse_parts()

    def _refuse_parts(self) -> NoReturn:
        raise HkdsrError(f"{self.name} runs only as a whole: choose a method that needs only taps of its teacher")
