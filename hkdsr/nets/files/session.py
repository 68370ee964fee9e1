"""SessionNetwork: a network in a file that another runtime runs, as a frozen network here.

It is scored, upscales and teaches by its images like any other network, but has no features to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.memory import ran_out
from hkdsr.nets.files.file_network import FileNetwork

Run = Callable[[np.ndarray], Sequence[object]]
"""From a batch of images, float32 (batch, 3, height, width), to what the runtime makes of it."""


class SessionNetwork(FileNetwork):
    """A network run elsewhere: RGB (batch, 3, height, width) in [0, 1] -> 2, 3 or 4 times the size.

    It runs on the CPU, whatever the device of its images.

    Args:
        run: gives the outputs for a batch.
        errors: what ``run`` raises for images that the network cannot take.
        content, name, told, size, colour_range: as in ``FileNetwork``.

    Raises HkdsrError, naming ``name``, if no image that is tried comes out as one of 2, 3 or 4 times the size.
    """

    runs_in_pytorch = False

    def __init__(
        self,
        run: Run,
        errors: tuple[type[Exception], ...],
        content: bytes,
        name: str,
        told: Mapping[str, str],
        *,
        size: tuple[int, int] | None = None,
        colour_range: float | None = None,
    ) -> None:
        session = _Session(run, errors, name, self.kind)
        super().__init__(session, name, content, told, size=size, colour_range=colour_range)

    @property
    def types_told(self) -> str:
        """In which types it runs, for ``notes``."""
        return "a runtime of its own, on the CPU"

    def _explored(self) -> None:
        return  # it has no parts

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise HkdsrError(
            f"{self.name} is an {self.kind} file, which cannot be copied, converted or counted: use the weights that "
            "it was exported from"
        )


class _Session(nn.Module):
    """What a runtime computes, as a module without weights."""

    def __init__(self, run: Run, errors: tuple[type[Exception], ...], name: str, kind: str) -> None:
        super().__init__()
        self._run, self._errors, self._name, self._kind = run, errors, name, kind

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        try:
            made = self._run(np.ascontiguousarray(x.detach().cpu().float().numpy()))
        except self._errors as error:
            if ran_out(error):
                raise MemoryError(f"{self._name}: {error}") from error
            raise HkdsrError(
                f"{self._name} fails on an RGB image of {x.shape[3]}x{x.shape[2]}: give another {self._kind} file, or "
                "a larger image"
            ) from error
        images = [one for one in made if isinstance(one, np.ndarray) and one.dtype in IMAGES]
        if not images:
            kinds = ", ".join(str(getattr(one, "dtype", type(one).__name__)) for one in made)
            raise HkdsrError(f"{self._name} gives an output of the type {kinds}: export it with a float32 output")
        return tuple(torch.from_numpy(image.astype(np.float32)).to(x) for image in images)

    def __deepcopy__(self, memo: object) -> _Session:
        return self  # it has nothing that a copy could change


IMAGES = (np.float16, np.float32, np.float64, np.uint8)
"""The types of outputs that may be images. In uint8 they are in 0..255."""


def require_images(shapes: Sequence[Sequence[int | None]], name: str, kind: str) -> tuple[int, int] | None:
    """The fixed size (height, width) of the images that a file takes, from the shapes of its inputs; None if open.

    Raises HkdsrError, naming ``name``, for inputs that are not one batch of RGB images, and for batches of several.
    """
    shape = shapes[0] if len(shapes) == 1 else ()
    if len(shape) != 4 or shape[1] not in (3, None) or (shape[1], shape[3]) == (None, 3):
        found = " and ".join(f"({', '.join('any' if s is None else str(s) for s in one)})" for one in shapes) or "none"
        raise HkdsrError(
            f"the inputs of {name} are {found}, not one batch of images (batch, 3, height, width): give another {kind} "
            "file"
        )
    batch, _, height, width = shape
    if batch not in (1, None):
        raise HkdsrError(f"{name} takes batches of {batch} images only: export it for one image, or for any number")
    if height is None and width is None:
        return None
    return height or width or 1, width or height or 1


def own_range(told: Mapping[str, str]) -> float | None:
    """1 if this package has written a file that tells this; None otherwise, so that the range is found."""
    return 1.0 if "family" in told else None


def as_type(images: np.ndarray, kind: type) -> np.ndarray:
    """Images in the type of a network's input, rounded if it is uint8."""
    return (images.round().clip(0, 255) if kind is np.uint8 else images).astype(kind)
