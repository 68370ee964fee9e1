"""OnnxNetwork: the network in an ONNX file, run by ONNX Runtime."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from hkdsr.errors import HkdsrError
from hkdsr.memory import needed_for
from hkdsr.nets.files.session import PROBE, SessionNetwork

TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


class OnnxNetwork(SessionNetwork):
    """The network in an ONNX file, run in the type of its input: floating-point numbers, or uint8 for grey levels.

    Images have their colours first, or last where the file says of itself that its ``image_layout`` is ``nhwc``.

    Raises HkdsrError, naming ``name``, if ONNX Runtime is missing or cannot run ``content``, for other inputs or
    outputs than images, and for images of a fixed size unless ``fixed_size`` allows it.
    """

    family = "onnx"
    kind = "ONNX"

    def __init__(self, content: bytes, name: str, *, fixed_size: bool = False) -> None:
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
        told = session.get_modelmeta().custom_metadata_map
        last, kind = told.get("image_layout") == "nhwc", TYPES[image.type]
        height, width = image.shape[1:3] if last else image.shape[2:]
        fixed = isinstance(height, int), isinstance(width, int)
        if any(fixed) and not (all(fixed) and fixed_size):
            raise HkdsrError(
                f"{name} takes only images of {width}x{height}: export it with a variable height and width"
            )

        def run(images: np.ndarray) -> object:
            images = images.transpose(0, 2, 3, 1) if last else images
            given = (255 * images.clip(0, 1)).round() if kind is np.uint8 else images
            made = session.run(None, {image.name: given.astype(kind)})[0]
            if not isinstance(made, np.ndarray):
                return made
            made = made.transpose(0, 3, 1, 2) if last and made.ndim == 4 else made
            return made.astype(np.float32) / 255 if kind is made.dtype.type is np.uint8 else made

        probe = (height, width) if all(fixed) else PROBE
        super().__init__(run, errors, content, name, told, probe)

    @classmethod
    def from_file(cls, path: Path, *, fixed_size: bool = False) -> OnnxNetwork:
        """The network in the file ``path``. Raises HkdsrError as the class does, and if it cannot be read."""
        try:
            return cls(path.read_bytes(), str(path), fixed_size=fixed_size)
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
