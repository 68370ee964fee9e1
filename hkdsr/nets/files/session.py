"""SessionNetwork: a network in a file that another runtime runs, as a frozen network here.

It is scored, upscales and teaches by its images like any other network, but has no features to compare.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.memory import ran_out
from hkdsr.nets.base import Traced
from hkdsr.nets.opaque import OpaqueNetwork

PROBE = (48, 56)  # height and width of the image that the scale is measured on, more than any layer here needs

Run = Callable[[np.ndarray], object]
"""From a batch of images, float32 (batch, 3, height, width), to what the runtime makes of it."""


class SessionNetwork(OpaqueNetwork):
    """A network run elsewhere: RGB (batch, 3, height, width) in [0, 1] -> 2, 3 or 4 times the size.

    It runs on the CPU, whatever the device of its images.

    Args:
        run: gives the output for a batch.
        errors: what ``run`` raises for images that the network cannot take.
        content: the bytes of the file or files, by whose hash networks are told apart.
        name: what messages call it.
        told: what the file tells of itself, for ``settings``.
        probe: height and width of an image that the network is tried on.

    Raises HkdsrError, naming ``name``, if the probe does not come out as an image of 2, 3 or 4 times the size.
    """

    runs_in_pytorch = False
    without_taps = "runs only as a whole"
    kind: ClassVar[str]
    """Of the file, for messages: ``ONNX``."""
    sha256: Tensor

    def __init__(
        self,
        run: Run,
        errors: tuple[type[Exception], ...],
        content: bytes,
        name: str,
        told: Mapping[str, str],
        probe: tuple[int, int] = PROBE,
    ) -> None:
        try:
            made = run(np.zeros((1, 3, *probe), np.float32))
        except errors as error:
            raise HkdsrError(
                f"{name} fails on an RGB image of {probe[1]}x{probe[0]}: give another {self.kind} file"
            ) from error
        super().__init__(_scale(made, name, probe))
        self.name, self._run, self._errors, self._told = name, run, errors, dict(told)
        # It has no weights in PyTorch: the hash tells networks apart, the empty parameter carries device and type.
        self.register_buffer("sha256", torch.tensor(list(hashlib.sha256(content).digest()), dtype=torch.uint8))
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    @property
    def channels(self) -> int:
        """3: the image replaces the features."""
        return 3

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Empty: other runtimes show only the output."""
        return ()

    @property
    def settings(self) -> dict[str, int | float | str]:
        """Scale and what the file tells of itself. They do not rebuild the network: that takes its file."""
        return {"scale": self.scale, "architecture": self.kind, **self._told}

    def forward(self, x: Tensor) -> Tensor:
        images = x.detach().cpu().float().numpy()
        try:
            made = self._run(images)
        except self._errors as error:
            if ran_out(error):
                raise MemoryError(f"{self.name}: {error}") from error
            raise HkdsrError(f"{self.name} fails on images of {x.shape[3]}x{x.shape[2]}: use larger ones") from error
        expected = (x.shape[0], 3, self.scale * x.shape[2], self.scale * x.shape[3])
        if not isinstance(made, np.ndarray) or made.shape != expected:
            raise HkdsrError(
                f"{self.name} makes no x{self.scale} image of one of {x.shape[3]}x{x.shape[2]}: export it again, with "
                "a variable height and width"
            )
        return torch.from_numpy(made).to(x)

    def trace(self, x: Tensor, taps: Sequence[int]) -> Traced:
        """As in ``Network``; ``shallow`` is ``x``. Raises HkdsrError for taps, which it does not have."""
        if taps:
            self._refuse_parts()
        return Traced(self.forward(x), x, ())

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise HkdsrError(
            f"{self.name} is an {self.kind} file, which cannot be copied, converted or counted: use the weights that "
            "it was exported from"
        )


def _scale(made: object, name: str, probe: tuple[int, int]) -> int:
    """By how much the probe was enlarged."""
    if isinstance(made, np.ndarray) and np.issubdtype(made.dtype, np.floating):
        for scale in (2, 3, 4):
            if made.shape == (1, 3, *(scale * side for side in probe)):
                return scale
        what = f"an output of shape {made.shape} for an input of {(1, 3, *probe)}"
    else:
        what = f"an output of the type {getattr(made, 'dtype', type(made).__name__)}"
    raise HkdsrError(f"{name} gives {what}: give a network that turns one RGB image into one x2, x3 or x4")
