"""OnnxNetwork: an ONNX file, run by ONNX Runtime, in a network's place.

It is scored, upscales and teaches by its images like any other network; nothing inside it can be reached.
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
from hkdsr.nets.base import Traced
from hkdsr.nets.opaque import OpaqueNetwork

PROBE = 48  # LR pixels: what the scale is read off, and more than any layer here needs
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxNetwork(OpaqueNetwork):
    """The network in an ONNX file: one input (batch, 3, height, width), RGB in [0, 1], and one output of 2, 3 or 4
    times the size. It runs on the CPU, whatever device its images come from, in its own floating-point type.

    Raises HkdsrError, naming ``name``, if ONNX Runtime is missing or cannot run ``content``, and for another input or
    output, images of one fixed size included.
    """

    family = "onnx"
    runs_in_pytorch = False
    sha256: Tensor

    def __init__(self, content: bytes, name: str) -> None:
        runtime, errors = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what goes wrong is raised too
        try:
            session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except errors as error:
            raise HkdsrError(f"{name} cannot be run by ONNX Runtime: export it again") from error
        put = session.get_inputs()[0]
        if len(session.get_inputs()) != 1 or put.type not in TYPES or len(put.shape) != 4:
            raise HkdsrError(f"{name} does not take images (batch, 3, height, width) alone: give another ONNX file")
        if any(isinstance(side, int) for side in put.shape[2:]):
            size = f"{put.shape[3]}x{put.shape[2]}"
            raise HkdsrError(f"{name} takes images of one size alone ({size}): export it for any size")
        given = np.zeros((1, 3, PROBE, PROBE), TYPES[put.type])
        try:
            made, *_ = session.run(None, {put.name: given})
        except errors as error:
            raise HkdsrError(f"{name} fails on an RGB image of {PROBE}x{PROBE}: give another ONNX file") from error
        super().__init__(_scale(made, name))
        self.name, self._session, self._put, self._errors = name, session, put, errors
        # Without weights of its own, it is known by its bytes and lies where this parameter does.
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
        """3: the image stands in for features."""
        return 3

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """None: nothing inside can be reached."""
        return ()

    @property
    def settings(self) -> dict[str, int | float | str]:
        """What it is, and what the file tells of itself; the file is needed to have it again."""
        told = self._session.get_modelmeta().custom_metadata_map
        return {"scale": self.scale, "architecture": "ONNX", **told}

    def forward(self, x: Tensor) -> Tensor:
        given = x.detach().cpu().numpy().astype(TYPES[self._put.type])
        try:
            (made, *_) = self._session.run(None, {self._put.name: given})
        except self._errors as error:
            raise HkdsrError(f"{self.name} fails on images of {x.shape[3]}x{x.shape[2]}: use larger ones") from error
        return torch.from_numpy(made).to(x)

    def trace(self, x: Tensor, taps: Sequence[int]) -> Traced:
        if taps:
            self._refuse_parts()
        return Traced(self.forward(x), x, ())

    def tap_index(self, depth: float) -> int:
        """Raises HkdsrError, as all do that reach inside."""
        self._refuse_parts()

    def _refuse_parts(self) -> NoReturn:
        raise HkdsrError(f"{self.name} runs only as a whole: choose a method that compares images only")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise HkdsrError(f"{self.name} runs but cannot be copied, changed or counted: use what it was exported from")


def _scale(made: object, name: str) -> int:
    """By how much the probe was enlarged."""
    if isinstance(made, np.ndarray) and np.issubdtype(made.dtype, np.floating):
        for scale in (2, 3, 4):
            if made.shape == (1, 3, scale * PROBE, scale * PROBE):
                return scale
        what = f"an output of shape {made.shape} for an input of (1, 3, {PROBE}, {PROBE})"
    else:
        what = f"an output of the type {getattr(made, 'dtype', type(made).__name__)}"
    raise HkdsrError(f"{name} gives {what}: give a network that turns one RGB image into one x2, x3 or x4")


def _runtime() -> tuple[ModuleType, tuple[type[Exception], ...]]:
    """ONNX Runtime, and what it raises."""
    try:
        import onnxruntime
    except ImportError as error:
        raise HkdsrError("ONNX files need ONNX Runtime: pip install 'hkdsr[onnx]'") from error
    state = vars(import_module("onnxruntime.capi.onnxruntime_pybind11_state")).values()
    return onnxruntime, tuple(kind for kind in state if isinstance(kind, type) and issubclass(kind, Exception))
