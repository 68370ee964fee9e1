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
from hkdsr.stop import run_onnx

TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


class OnnxNetwork(SessionNetwork):
    """The network in an ONNX file, run in the type of its input. Images of a fixed size are tiles of larger ones.

    Images have their colours first, or last where the file says of itself that its ``image_layout`` is ``nhwc``.

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
        told = session.get_modelmeta().custom_metadata_map
        last = told.get("image_layout") == "nhwc"
        inputs = session.get_inputs()
        shapes = [[side if isinstance(side, int) else None for side in image.shape] for image in inputs]
        size = require_images([_colours_first(shape) if last else shape for shape in shapes], name, self.kind)
        image = inputs[0]
        if image.type not in TYPES:
            raise HkdsrError(f"{name} takes images of the type {image.type}: export it with a float32 input")
        kind = TYPES[image.type]

        def run(images: np.ndarray) -> Sequence[object]:
            given = as_type(images.transpose(0, 2, 3, 1) if last else images, kind)
            made = run_onnx(session, {image.name: given})
            return [one.transpose(0, 3, 1, 2) if last and np.ndim(one) == 4 else one for one in made]

        own = own_range(told)
        colour_range = 255.0 if own and kind is np.uint8 else own
        super().__init__(run, errors, content, name, told, size=size, colour_range=colour_range)

    @classmethod
    def from_file(cls, path: Path) -> OnnxNetwork:
        """The network in the file ``path``. Raises HkdsrError as the class does, and if it cannot be read."""
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            raise HkdsrError(f"cannot read {path} ({error.strerror}): check the path") from error


def _colours_first(shape: list[int | None]) -> list[int | None]:
    """The shape (batch, channels, height, width) of images whose shape is given with the channels last."""
    return [*shape[:1], *shape[-1:], *shape[1:-1]]


def _runtime() -> tuple[ModuleType, tuple[type[Exception], ...]]:
    """ONNX Runtime and the classes of its errors."""
    try:
        import onnxruntime
    except ImportError as error:
        raise HkdsrError("ONNX files need ONNX Runtime: pip install 'hkdsr[onnx]'") from error
    state = vars(import_module("onnxruntime.capi.onnxruntime_pybind11_state")).values()
    return onnxruntime, tuple(kind for kind in state if isinstance(kind, type) and issubclass(kind, Exception))
