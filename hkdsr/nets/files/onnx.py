"""OnnxNetwork: the network in an ONNX file, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from hkdsr.errors import HkdsrError
from hkdsr.memory import needed_for
from hkdsr.nets.files.session import SessionNetwork, as_type, own_range, require_images

TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


class OnnxNetwork(SessionNetwork):
    """The network in an ONNX file, run in the type of its input. Images of a fixed size are tiles of larger ones.

    Raises HkdsrError, naming ``name``, if ONNX Runtime is missing or cannot run ``content``, and for other inputs or
    outputs than images.
    """

    family = "onnx"
    kind = "ONNX"

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
        inputs = session.get_inputs()
        shapes = [[side if isinstance(side, int) else None for side in image.shape] for image in inputs]
        size = require_images(shapes, name, self.kind)
        image = inputs[0]
        if image.type not in TYPES:
            raise HkdsrError(f"{name} takes images of the type {image.type}: export it with a float32 input")

        def run(images: np.ndarray) -> Sequence[object]:
            return session.run(None, {image.name: as_type(images, TYPES[image.type])})

        told = session.get_modelmeta().custom_metadata_map
        super().__init__(run, errors, content, name, told, size=size, colour_range=own_range(told))

    @classmethod
    def from_file(cls, path: Path) -> OnnxNetwork:
        """The network in the file ``path``. Raises HkdsrError as the class does, and if it cannot be read."""
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            raise HkdsrError(f"cannot read {path} ({error.strerror}): check the path") from error


def _runtime() -> tuple[ModuleType, tuple[type[Exception], ...]]:
    """ONNX Runtime and the classes of its errors."""
    try:
        import onnxruntime
    except ImportError as error:
        raise HkdsrError("ONNX files need ONNX Runtime: pip install 'hkdsr[onnx]'") from error
    state = vars(import_module("onnxruntime.capi.onnxruntime_pybind11_state")).values()
    return onnxruntime, tuple(kind for kind in state if isinstance(kind, type) and issubclass(kind, Exception))
