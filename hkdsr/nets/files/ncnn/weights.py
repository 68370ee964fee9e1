"""The weights of an ncnn network (.bin): numbers without names, in the order of the layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from hkdsr.errors import HkdsrError

FLOAT32 = (0, 0x0002C056)
FLOAT16 = 0x01306B47
"""Tags before the weights of convolutions. Those of other layers have none and are of 32 bits."""
ALIGNMENT = 4


class Weights:
    """Reads ``content`` from its beginning to its end. Sizes are compared with what is left before memory is taken.

    Raises HkdsrError, naming the description ``file`` and the name of the weights ``beside`` it, if too little is left
    and for weights that are no numbers of 16 or 32 bits.
    """

    def __init__(self, content: bytes, file: str, beside: str) -> None:
        self._content, self._file, self._beside, self._place = memoryview(content), file, beside, 0

    def plain(self, *shape: int) -> Tensor:
        """Weights of this shape without a tag, in float32."""
        return self._values(np.dtype("<f4"), shape)

    def tagged(self, *shape: int) -> Tensor:
        """Weights of this shape after their tag, in float32."""
        tag = int.from_bytes(self._taken(4), "little")
        if tag == FLOAT16:
            values = self._values(np.dtype("<f2"), shape)
            self._taken(-self._place % ALIGNMENT)
            return values
        if tag not in FLOAT32:
            raise HkdsrError(
                f"{self._file} has weights in {self._beside} that are no numbers of 16 or 32 bits: export it in float"
            )
        return self._values(np.dtype("<f4"), shape)

    def require_end(self) -> None:
        """Raises HkdsrError if weights are left over."""
        if left := self._left():
            raise HkdsrError(f"{self._file} takes {left} bytes fewer than {self._beside} has: copy both files again")

    def _left(self) -> int:
        return len(self._content) - self._place

    def _values(self, kind: np.dtype, shape: Sequence[int]) -> Tensor:
        values = np.frombuffer(self._taken(prod(shape) * kind.itemsize), kind)
        return torch.from_numpy(values.astype(np.float32)).reshape(*shape)

    def _taken(self, size: int) -> memoryview:
        if size > self._left():
            raise HkdsrError(f"{self._file} takes more weights than {self._beside} has: copy both files again")
        self._place += size
        return self._content[self._place - size : self._place]
