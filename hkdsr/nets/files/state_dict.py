"""State dicts in files as they come: of this package, and of the trainers that other projects use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.memory import needed_for
from hkdsr.nets.files.pickles import REMEDY, read_pickle

CONTAINERS = (
    *("params_ema", "ema", "ema_state_dict", "model_ema", "g_ema"),
    *("params", "state_dict", "model_state_dict", "model", "net", "net_g", "generator", "network", "weights", "g"),
)
"""Where trainers keep a network's weights, averaged ones first."""
DEEPEST = 3
WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before parameter names."""
PREFIXES = ("model.", "generator.", "net_g.", "network.", "net.", "netG.")
"""What trainers that keep losses beside the network put there."""
COUNTERS = ("n_averaged",)
NAMED = 3
FEW_BYTES = 16

Declared = tuple[str, dict[str, Any]]
"""Family and settings."""


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Declared | None]:
    """The state dict of a file, on the CPU, and family and settings if the file declares them.

    Raises HkdsrError for a file that is unreadable or damaged, has no state dict, or has weights that are not plain
    floating-point tensors. No code in the file is run.
    """
    state, declared = read_safetensors(path) if is_safetensors(path) else (_weights(read_pickle(path), path), None)
    for name, value in state.items():
        _require_weights(path, name, value)
    return {bare(name): value for name, value in state.items() if name not in COUNTERS}, declared


def variants(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The state dict as it is, and for each prefix of trainers the weights that have it, without the prefix."""
    yield dict(state)
    for prefix in PREFIXES:
        inner = {bare(key.removeprefix(prefix)): value for key, value in state.items() if key.startswith(prefix)}
        if inner:
            yield inner


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do, whatever it is called. Raises HkdsrError if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise HkdsrError(f"cannot read {path} ({error.strerror}): check its permissions") from error
    return path.suffix.lower() == ".safetensors" or start[8:] == b"{"


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], Declared | None]:
    """As ``read_checkpoint``, for safetensors."""
    try:
        with needed_for(str(path), REMEDY), safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HkdsrError(f"{path} is not a readable safetensors file ({reason}): copy it again") from error
    if not state or not _printable(state):
        raise HkdsrError(f"{path} has no state dict: give a checkpoint with a network's weights")
    if not {"family", "settings"} <= metadata.keys():
        return state, None
    try:
        settings = json.loads(metadata["settings"])
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise HkdsrError(f"{path} declares the settings of its network in a way that cannot be read: copy it again")
    return state, (metadata["family"], settings)


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file tells of itself. Raises HkdsrError if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise HkdsrError(f"{path} is not a readable safetensors file: copy it again") from error


def bare(name: str) -> str:
    """A parameter's name without what wrappers put before it."""
    while name.startswith(WRAPPERS):
        name = name.removeprefix("module.").removeprefix("_orig_mod.")
    return name


def _weights(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    found = _state_dict(content, DEEPEST)
    if found is None:
        names = ", ".join(str(key)[:40] for key in list(content)[:NAMED]) or "nothing that is plain data"
        raise HkdsrError(f"{path} has no state dict (it holds {names}): give a checkpoint with a network's weights")
    return found


def _state_dict(content: Mapping[Any, Any], depth: int) -> dict[str, Tensor] | None:
    for key in CONTAINERS if depth else ():
        inner = content.get(key)
        if isinstance(inner, Mapping) and (found := _state_dict(inner, depth - 1)):
            return found
    if content and _printable(content) and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    return None


def _printable(state: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) and name.isprintable() for name in state)


def _require_weights(path: Path, name: str, value: Tensor) -> None:
    """Counters and index tables are whole numbers of 32 or 64 bits, and a few bytes may describe a network, as those of
    FDAT and MoESR do; everything else is floating point.
    """
    if value.is_nested:
        kind = "nested"
    elif value.layout != torch.strided:
        kind = "sparse"
    elif value.is_quantized:
        kind = "quantised"
    elif value.is_meta:
        kind = "without values"
    elif (
        value.is_floating_point()
        or value.dtype in (torch.int64, torch.int32)
        or value.ndim == 0
        or (value.dtype == torch.uint8 and value.ndim == 1 and len(value) <= FEW_BYTES)
    ):
        return
    else:
        kind = f"of the type {str(value.dtype).removeprefix('torch.')}"
    raise HkdsrError(f"{path} has a weight '{name}' that is {kind}: give a file of plain floating-point weights")
