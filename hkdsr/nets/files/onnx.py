"""OnnxNetwork: the network in an ONNX file, run by ONNX Runtime.

It is scored, upscales and teaches by its images like any other network, but has no features to compare.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.memory import needed_for, ran_out
from hkdsr.nets.base import Traced
from hkdsr.nets.opaque import OpaqueNetwork

PROBE = (48, 56)  # height and width of the image that the scale is measured on, more than any layer here needs
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxNetwork(OpaqueNetwork):
    """The network in an ONNX file: RGB (batch, 3, height, width) in [0, 1] -> 2, 3 or 4 times the size.

    It runs on the CPU, whatever the device of its images, in the floating-point type of its input. Raises HkdsrError,
    naming ``name``, if ONNX Runtime is missing or cannot run ``content``, for other inputs or outputs, and for images
    of a fixed size.
    """

    family = "onnx"
    runs_in_pytorch = False
    without_taps = "runs only as a whole"
    sha256: Tensor

    def __init__(self, content: bytes, name: str) -> None:
        runtime, errors = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # errors are raised, so they need not be printed
        try:
            with needed_for(name, "use a smaller network, or free memory"):
                session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except errors as error:
            raise HkdsrError(f"{name} cannot be run by ONNX Runtime: export it again") from error
        image = session.get_inputs()[0]
        if len(session.get_inputs()) != 1 or image.type not in TYPES or len(image.shape) != 4:
            raise HkdsrError(
                f"the inputs of {name} are not one batch of images (batch, 3, height, width): give another ONNX file"
            )
        if any(isinstance(side, int) for side in image.shape[2:]):
            size = f"{image.shape[3]}x{image.shape[2]}"
            raise HkdsrError(f"{name} takes only images of {size}: export it with a variable height and width")
        probe = np.zeros((1, 3, *PROBE), TYPES[image.type])
        try:
            made, *_ = session.run(None, {image.name: probe})
        except errors as error:
            raise HkdsrError(
                f"{name} fails on an RGB image of {PROBE[1]}x{PROBE[0]}: give another ONNX file"
            ) from error
        super().__init__(_scale(made, name))
        self.name, self._session, self._input, self._errors = name, session, image, errors
        # It has no weights in PyTorch: the hash tells networks apart, the empty parameter carries device and type.
        self.register_buffer("sha256", torch.tensor(list(hashlib.sha256(content).digest()), dtype=torch.uint8))
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    @classmethod
    def from_file(cls, path: Path) -> OnnxNetwork:
        """The network in the file ``path``. Raises HkdsrError as the class does, and if it cannot be read."""
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            raise HkdsrError(f"cannot read {path} ({error.strerror}): check the path") from error

    @property
    def channels(self) -> int:
        """3: the image replaces the features."""
        return 3

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Empty: ONNX Runtime shows only the output."""
        return ()

    @property
    def settings(self) -> dict[str, int | float | str]:
        """Scale and the metadata of the file. They do not rebuild the network: that takes its file."""
        metadata = self._session.get_modelmeta().custom_metadata_map
        return {"scale": self.scale, "architecture": "ONNX", **metadata}

    def forward(self, x: Tensor) -> Tensor:
        images = x.detach().cpu().numpy().astype(TYPES[self._input.type])
        try:
            (sr, *_) = self._session.run(None, {self._input.name: images})
        except self._errors as error:
            if ran_out(error):
                raise MemoryError(f"{self.name}: {error}") from error
            raise HkdsrError(f"{self.name} fails on images of {x.shape[3]}x{x.shape[2]}: use larger ones") from error
        return torch.from_numpy(sr).to(x)

    def trace(self, x: Tensor, taps: Sequence[int]) -> Traced:
        """As in ``Network``; ``shallow`` is ``x``. Raises HkdsrError for taps, which it does not have."""
        if taps:
            self._refuse_parts()
        return Traced(self.forward(x), x, ())

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise HkdsrError(
            f"{self.name} is an ONNX file, which cannot be copied, converted or counted: use the weights that it was "
            "exported from"
        )


def _scale(made: object, name: str) -> int:
    """By how much the probe was enlarged."""
    if isinstance(made, np.ndarray) and np.issubdtype(made.dtype, np.floating):
        for scale in (2, 3, 4):
            if made.shape == (1, 3, *(scale * side for side in PROBE)):
                return scale
        what = f"an output of shape {made.shape} for an input of {(1, 3, *PROBE)}"
    else:
        what = f"an output of the type {getattr(made, 'dtype', type(made).__name__)}"
    raise HkdsrError(f"{name} gives {what}: give a network that turns one RGB image into one x2, x3 or x4")


def _runtime() -> tuple[ModuleType, tuple[type[Exception], ...]]:
    """ONNX Runtime and the classes of its errors."""
    try:
        import onnxruntime
    except ImportError as error:
        raise HkdsrError("ONNX files need ONNX Runtime: pip install 'hkdsr[onnx]'") from error
    state = vars(import_module("onnxruntime.capi.onnxruntime_pybind11_state")).values()
    return onnxruntime, tuple(kind for kind in state if isinstance(kind, type) and issubclass(kind, Exception))
