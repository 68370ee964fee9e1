"""OnnxNetwork: the network in an ONNX file, run by ONNX Runtime."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from hkdsr.errors import HkdsrError
from hkdsr.memory import needed_for
from hkdsr.nets.files.session import SessionNetwork

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxNetwork(SessionNetwork):
    """The network in an ONNX file, run in the floating-point type of its input.

    Raises HkdsrError, naming ``name``, if ONNX Runtime is missing or cannot run ``content``, for other inputs or
    outputs than images, and for images of a fixed size.
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
        image = session.get_inputs()[0]
        if len(session.get_inputs()) != 1 or image.type not in TYPES or len(image.shape) != 4:
            raise HkdsrError(
                f"the inputs of {name} are not one batch of images (batch, 3, height, width): give another ONNX file"
            )
        if any(isinstance(side, int) for side in image.shape[2:]):
            size = f"{image.shape[3]}x{image.shape[2]}"
            raise HkdsrError(f"{name} takes only images of {size}: export it with a variable height and width")

        def run(images: np.ndarray) -> object:
            return session.run(None, {image.name: images.astype(TYPES[image.type])})[0]

        super().__init__(run, errors, content, name, session.get_modelmeta().custom_metadata_map)

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
