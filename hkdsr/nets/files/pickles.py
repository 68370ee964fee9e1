"""Checkpoints that torch pickled, without running code of theirs.

torch's own restricted reader comes first. It refuses files in which anything but tensors lies beside the weights, as
trainers leave it there (numpy numbers, argparse's Namespace). Then a reader comes that makes tensors and nothing else:
every other class or function in the file becomes an empty stand-in, so none is imported or called.
"""

from __future__ import annotations

import collections
import io
import pickle
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import _utils

from hkdsr.errors import HkdsrError
from hkdsr.memory import needed_for

DAMAGED = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError, RecursionError, struct.error, pickle.UnpicklingError),
)
"""What torch and pickle raise for a damaged file."""

REMEDY = "free memory, or copy the file again, as it may be damaged"
"""Where a file wants more memory than there is. A damaged one may want any amount."""

FIRST_BYTES = (b"PK", b"\x80")
"""Of the files that ``torch.save`` writes: a zip archive or, before PyTorch 1.6, a pickle."""
OTHER_FORMATS = {
    ".bin": "weights of ncnn or OpenVINO",
    ".engine": "a TensorRT engine",
    ".h5": "a Keras model",
    ".keras": "a Keras model",
    ".mlmodel": "a Core ML model",
    ".pb": "a TensorFlow model",
    ".tflite": "a TensorFlow Lite model",
}
TORCHSCRIPT = "TorchScript"
PROGRAMS = {
    "constants.pkl": TORCHSCRIPT,
    "archive_format": "torch.export",
    "serialized_exported_program.json": "torch.export",
}
"""What writes programs, by a file that is in their archives only."""
REBUILDERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")
DATA_TYPES = {name for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
STORAGES = {name for name in vars(torch) if name.endswith("Storage")}


def read_pickle(path: Path) -> dict[Any, Any]:
    """The dictionary in a file, with tensors on the CPU; empty if it holds something else.

    Raises HkdsrError for a file that is damaged or of another format, which is named.
    """
    _require_pytorch(path)
    try:
        with needed_for(str(path), REMEDY):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED:
        content = _tensors_alone(path)
    return content if isinstance(content, dict) else {}


def _tensors_alone(path: Path) -> Any:
    module = SimpleNamespace(
        __name__=__name__, Unpickler=_TensorUnpickler, load=_load, UnpicklingError=pickle.UnpicklingError
    )
    try:
        with needed_for(str(path), REMEDY):
            return torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    except DAMAGED as error:
        raise HkdsrError(
            f"{path} is not a readable checkpoint (truncated, damaged or another format): copy it again, or ask its "
            "author for a safetensors file"
        ) from error


def _require_pytorch(path: Path) -> None:
    """Raise HkdsrError, naming the format, for a file that is no checkpoint of PyTorch."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise HkdsrError(f"cannot read {path} ({error.strerror}): check its permissions") from error
    if not start.startswith(FIRST_BYTES):
        kind = OTHER_FORMATS.get(path.suffix.lower(), "not a readable checkpoint of PyTorch")
        others = ".param or .xml" if path.suffix.lower() == ".bin" else ".pth, .safetensors or .onnx"
        raise HkdsrError(f"{path} is {kind}: give the network's {others} file instead")
    if kind := program_kind(path):
        raise HkdsrError(
            f"{path} is a program of {kind}, which may do what any program may: if you trust it, name it as "
            f"{path.name}:forward, so that it is run"
        )


def program_kind(path: Path) -> str | None:
    """What has written a program, ``TorchScript`` or ``torch.export``; None for a file that is no program."""
    try:
        with ZipFile(path) as archive:
            names = {f"/{name}".rpartition("/")[2] for name in archive.namelist()}
    except (BadZipFile, *DAMAGED):
        return None  # torch.load says what it is
    return next((kind for mark, kind in PROGRAMS.items() if mark in names), None)


class _StandIn:
    """In place of whatever a file names: takes everything that unpickling does to an object and keeps nothing."""

    def __new__(cls, *args: Any, **settings: Any) -> _StandIn:
        return super().__new__(cls)

    def __init__(self, *args: Any, **settings: Any) -> None:
        return

    def __setstate__(self, state: Any) -> None:
        return

    def __setitem__(self, key: Any, value: Any) -> None:
        return

    def __call__(self, *args: Any, **settings: Any) -> _StandIn:
        return self

    def append(self, item: Any) -> None:
        """Called by pickle for lists."""

    def extend(self, items: Any) -> None:
        """Called by pickle for lists."""

    def add(self, item: Any) -> None:
        """Called by pickle for sets."""


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in REBUILDERS:
            return getattr(_utils, name)
        if module == "torch" and name in STORAGES | DATA_TYPES | {"Size", "device"}:
            return getattr(torch, name)
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch.nn.parameter", "Parameter"):
            return torch.nn.Parameter
        return type("StandIn", (_StandIn,), {})


def _load(file: io.BufferedIOBase, **settings: Any) -> Any:
    return _TensorUnpickler(file, **settings).load()
