"""OpenVinoNetwork: the network in a pair of OpenVINO files, run by OpenVINO on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hkdsr.errors import HkdsrError
from hkdsr.nets.files.session import SessionNetwork, as_type, own_range, require_images

if TYPE_CHECKING:
    from types import ModuleType

    from openvino import Model

DEVICE = "CPU"
METADATA = "hkdsr"
"""Where in the description of a network its settings are."""
TELEMETRY = "openvino_telemetry"
TYPES = {"f32": np.float32, "f16": np.float16, "u8": np.uint8}


class OpenVinoNetwork(SessionNetwork):
    """The network in ``description`` (the .xml file) and ``weights`` (the .bin file).

    It computes in float32. Left to itself, OpenVINO takes bfloat16 where the processor has it, which is up to 10 grey
    levels off.

    Images of a fixed size are tiles of larger ones. Raises HkdsrError, naming ``name``, if OpenVINO is missing or
    cannot run the files, and for other inputs or outputs than images.
    """

    family = "openvino"
    kind = "OpenVINO"

    def __init__(self, description: bytes, weights: bytes, name: str) -> None:
        openvino = runtime()
        core = openvino.Core()
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        try:
            model = core.read_model(description, weights)
            size = _require_images(model, name)
            compiled = core.compile_model(model, DEVICE, settings)
            told = dict(model.get_rt_info(METADATA).value) if model.has_rt_info(METADATA) else {}
        except (RuntimeError, UnicodeDecodeError) as error:
            raise HkdsrError(f"{name} cannot be run by OpenVINO: export it again") from error
        kind = TYPES[model.input().element_type.get_type_name()]

        def run(images: np.ndarray) -> Sequence[object]:
            return [value.copy() for value in compiled(as_type(images, kind)).values()]

        content = description + weights
        super().__init__(run, (RuntimeError,), content, name, told, size=size, colour_range=own_range(told))

    @classmethod
    def from_file(cls, path: Path) -> OpenVinoNetwork:
        """The network in ``path`` (.xml) and the .bin file beside it.

        Raises HkdsrError as the class does, and if one of them cannot be read.
        """
        return cls(*read_pair(path), str(path))


def read_pair(path: Path) -> tuple[bytes, bytes]:
    """A description and the weights beside it (.bin). Raises HkdsrError if one of them cannot be read."""
    weights = path.with_suffix(".bin")
    try:
        return path.read_bytes(), weights.read_bytes()
    except FileNotFoundError as error:
        raise HkdsrError(f"{path} has no {weights.name} beside it, which holds its weights: copy both files") from error
    except OSError as error:
        raise HkdsrError(f"cannot read {path} ({error.strerror}): check the path") from error


def runtime() -> ModuleType:
    """The package openvino. Raises HkdsrError if it is missing."""
    with without_reports():
        try:
            import openvino
        except ImportError as error:
            raise HkdsrError("OpenVINO files need OpenVINO: pip install 'hkdsr[openvino]'") from error
    return openvino


@contextmanager
def without_reports() -> Iterator[None]:
    """Inside, packages are imported as if the one by which they report their use to their makers were missing."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == TELEMETRY}
    for name in before:
        del sys.modules[name]
    sys.modules[TELEMETRY] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        del sys.modules[TELEMETRY]
        sys.modules.update(before)


def _require_images(model: Model, name: str) -> tuple[int, int] | None:
    shapes = [
        [side.get_length() if side.is_static else None for side in image.partial_shape]
        if image.partial_shape.rank.is_static
        else []
        for image in model.inputs
    ]
    size = require_images(shapes, name, OpenVinoNetwork.kind)
    if model.input().element_type.get_type_name() not in TYPES:
        raise HkdsrError(f"{name} takes no images of floating-point numbers: export it with a float32 input")
    return size
