"""Reading checkpoints as they come: ours, and those that other projects publish. No code of theirs is ever run."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hkdsr.errors import HkdsrError

NESTED_KEYS = ("params_ema", "params", "state_dict", "model")
WRAPPERS = ("module.", "_orig_mod.")
TORN = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError, struct.error),
)
"""What torch raises for a damaged file, besides UnpicklingError."""


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], tuple[str, dict[str, Any]] | None]:
    """The bare state dict of a file, on the CPU, and family and settings if the file tells them.

    Raises:
        HkdsrError: an unreadable or truncated file, a pickle that would run code, or a file without a state dict.
    """
    if path.suffix == ".safetensors":
        state, told = _read_safetensors(path)
    else:
        state, told = _read_pickle(path), None
    names = all(isinstance(name, str) and name.isprintable() for name in state)
    if not (state and names and all(isinstance(value, Tensor) for value in state.values())):
        raise HkdsrError(f"{path} holds no state dict: give a checkpoint with a network's weights")
    for name, value in state.items():
        _require_weights(path, name, value)
    return {_bare(name): value for name, value in state.items()}, told


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
        raise HkdsrError(f"{path} tells the settings of its network in a way that cannot be read: copy it again")
    return state, (metadata["family"], settings)


def _read_pickle(path: Path) -> dict[Any, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise HkdsrError(
            f"{path} holds Python objects that would run code when read, or is damaged: ask its author for a "
            "safetensors file or a plain state dict"
        ) from error
    except TORN as error:
        raise HkdsrError(f"{path} is not a readable checkpoint (truncated or another format): copy it again") from error
    content = content if isinstance(content, dict) else {}
    return next((content[key] for key in NESTED_KEYS if isinstance(content.get(key), dict)), content)


def _bare(name: str) -> str:
    """Strip what DistributedDataParallel and torch.compile prepend to parameter names."""
    while name.startswith(WRAPPERS):
        name = name.removeprefix("module.").removeprefix("_orig_mod.")
    return name
