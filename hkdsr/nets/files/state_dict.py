"""Read checkpoints of this package and of other projects. No code in them is ever run."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hkdsr.errors import HkdsrError

NESTED_KEYS = ("params_ema", "params", "state_dict", "model")
WRAPPERS = ("module.", "_orig_mod.")
FIRST_BYTES = (b"PK", b"\x80")
"""Of the files that ``torch.save`` writes: a zip archive or, before PyTorch 1.6, a pickle."""
OTHER_FORMATS = {
    ".bin": "weights of ncnn or OpenVINO",
    ".engine": "a TensorRT engine",
    ".h5": "a Keras model",
    ".keras": "a Keras model",
    ".mlmodel": "a Core ML model",
    ".param": "a network description of ncnn",
    ".pb": "a TensorFlow model",
    ".tflite": "a TensorFlow Lite model",
    ".xml": "a network description of OpenVINO",
}
DAMAGED = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError, struct.error),
)
"""What torch raises for a damaged file, besides UnpicklingError."""


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], tuple[str, dict[str, Any]] | None]:
    """The state dict of a file, on the CPU, and family and settings if the file contains them.

    Raises:
        HkdsrError: the file is damaged or of another format, its pickle would run code, or it holds no state dict.
    """
    if path.suffix == ".safetensors":
        state, stored = _read_safetensors(path)
    else:
        state, stored = _read_pickle(path), None
    names = all(isinstance(name, str) and name.isprintable() for name in state)
    if not (state and names and all(isinstance(value, Tensor) for value in state.values())):
        raise HkdsrError(f"{path} holds no state dict: give a checkpoint with a network's weights")
    for name, value in state.items():
        _require_weights(path, name, value)
    return {_bare(name): value for name, value in state.items()}, stored


def _require_weights(path: Path, name: str, value: Tensor) -> None:
    """Counters and index tables, of one number or of 64 bits, are whole numbers; everything else is floating point."""
    table = value.dtype in (torch.int64, torch.int32) or value.ndim == 0
    kind = None
    if value.layout != torch.strided or value.is_nested or value.is_quantized or value.is_meta:
        kind = "nested" if value.is_nested else "quantised" if value.is_quantized else "without values"
        kind = "sparse" if value.layout != torch.strided and not value.is_nested else kind
    elif not (value.is_floating_point() or table):
        kind = str(value.dtype).removeprefix("torch.")
    if kind:
        raise HkdsrError(f"{path} has a weight '{name}' that is {kind}: give a file of floating-point weights")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], tuple[str, dict[str, Any]] | None]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise HkdsrError(f"{path} is not a readable safetensors file ({reason}): copy it again") from error
    if not {"family", "settings"} <= metadata.keys():
        return state, None
    try:
        settings = json.loads(metadata["settings"])
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise HkdsrError(f"the network's settings in {path} cannot be read: copy it again")
    return state, (metadata["family"], settings)


def _read_pickle(path: Path) -> dict[Any, Any]:
    _require_pytorch(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise HkdsrError(
            f"{path} holds Python objects that would run code when read, or is damaged: ask its author for a "
            "safetensors file or a plain state dict"
        ) from error
    except DAMAGED as error:
        raise HkdsrError(f"{path} is not a readable checkpoint (truncated or another format): copy it again") from error
    content = content if isinstance(content, dict) else {}
    return next((content[key] for key in NESTED_KEYS if isinstance(content.get(key), dict)), content)


def _require_pytorch(path: Path) -> None:
    """Raise HkdsrError, naming the format, for a file that is no checkpoint of PyTorch."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise HkdsrError(f"cannot read {path} ({error.strerror}): check the path") from error
    if not start.startswith(FIRST_BYTES):
        kind = OTHER_FORMATS.get(path.suffix.lower(), "not a readable checkpoint of PyTorch")
        raise HkdsrError(f"{path} is {kind}: give the network's .pth, .safetensors or .onnx file instead")
    if _is_torchscript(path):
        raise HkdsrError(
            f"{path} is a TorchScript program: give the checkpoint that it was made from, or a file of its state_dict()"
        )


def _is_torchscript(path: Path) -> bool:
    try:
        with ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (BadZipFile, *DAMAGED):
        return False  # torch.load says what it is


def _bare(name: str) -> str:
    """Remove what DistributedDataParallel and torch.compile put before parameter names."""
    while name.startswith(WRAPPERS):
        name = name.removeprefix("module.").removeprefix("_orig_mod.")
    return name
