"""Checkpoints and ONNX files, damaged in their headers, objects, tensors and bytes, and then loaded and run."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

import hkdsr
from hkdsr.nets.files.load import build
from tools.fuzz import exported
from tools.fuzz.bytewise import NUMBERS, damaged, pick

NETWORKS = ("compact:features=4,convs=1", "edsr:features=4,blocks=1", "imdn:features=16,blocks=1")
DTYPES = ("F32", "F16", "BF16", "I64", "BOOL", "F64", "U8", "X9", "")
ODD_NUMBERS = (*NUMBERS, -1, -(2**31), 2**63, 10**30, 0.5, 1e308, float("nan"), True, None, "4", [4], {"a": 1})
OBJECTS: tuple[Any, ...] = (
    *(None, 3, "text", b"bytes", [1, [2]], {"a": {}}, np.float32(1), np.arange(3), argparse.Namespace(lr=1)),
    *(OrderedDict(a=1), Path("a"), {1, 2}, slice(1), complex(1, 2), torch.Size([1]), torch.float16),
)


def make(random: np.random.Generator, folder: Path) -> Path:
    """Write one damaged model file."""
    torch.manual_seed(int(random.integers(2**31)))
    kinds: tuple[tuple[str, Callable[[np.random.Generator], bytes]], ...] = (
        (".safetensors", _safetensors),
        (".pth", _pickled),
        (".pth", _pickle_bytes),
        (".onnx", exported.damaged_model),
    )
    suffix, made = kinds[pick(random, len(kinds))]
    path = folder / f"model{suffix}"
    path.write_bytes(made(random))
    return path


def use(path: Path, folder: Path) -> None:
    """Load it and upscale a small image with it."""
    network = hkdsr.load(path)
    large = hkdsr.upscale(network, np.full((24, 27, 3), 99, np.uint8))
    if large.shape != (24 * network.scale, 27 * network.scale, 3):
        raise AssertionError(f"x{network.scale} made {large.shape} of 24x27")


def _state(random: np.random.Generator) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A small network's weights, and the metadata that its file would have."""
    network = build(NETWORKS[pick(random, len(NETWORKS))], 2 + pick(random, 3))
    return dict(network.state_dict()), {"family": network.family, "settings": json.dumps(network.settings)}


def _safetensors(random: np.random.Generator) -> bytes:
    state, metadata = _state(random)
    content = to_safetensors(state, metadata)
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    for _ in range(1 + pick(random, 2)):
        match pick(random, 3):
            case 0:
                settings = json.loads(metadata["settings"])
                name = list(settings)[pick(random, len(settings))]
                settings[name] = ODD_NUMBERS[pick(random, len(ODD_NUMBERS))]
                header["__metadata__"]["settings"] = json.dumps(settings)
            case 1:
                _spoil_entry(header, random)
            case _:
                data = damaged(data, random)
    text = json.dumps(header).encode()
    if random.random() < 0.25:
        text = damaged(text, random)
    size = int(NUMBERS[pick(random, len(NUMBERS))]) if random.random() < 0.1 else len(text)
    return size.to_bytes(8, "little") + text + data


def _spoil_entry(header: dict[str, Any], random: np.random.Generator) -> None:
    names = [name for name in header if name != "__metadata__"]
    entry = header[names[pick(random, len(names))]]
    match pick(random, 4):
        case 0:
            entry["dtype"] = DTYPES[pick(random, len(DTYPES))]
        case 1:
            entry["shape"] = [int(NUMBERS[pick(random, len(NUMBERS))]) for _ in range(pick(random, 6))]
        case 2:
            entry["data_offsets"] = [int(NUMBERS[pick(random, len(NUMBERS))]) for _ in range(2)]
        case _:
            header[f"{'x' * 10 ** pick(random, 5)}\n"] = header.pop(names[0])


def _odd(value: Tensor, random: np.random.Generator) -> Any:
    """In a weight's place: another type, layout or shape, values that are no numbers, or no tensor at all."""
    match pick(random, 10):
        case 0:
            return value.to("meta")
        case 1:
            return value.to_sparse()
        case 2:
            return value > 0
        case 3:
            return torch.complex(value, value)
        case 4:
            return value.reshape(-1)
        case 5:
            return torch.full_like(value, float("nan"))
        case 6:
            return value[..., :1]
        case 7:
            return value.to(torch.float8_e4m3fn)
        case 8:
            return torch.zeros(()).expand(2**16, 2**16)
        case _:
            return OBJECTS[pick(random, len(OBJECTS))]


def _content(random: np.random.Generator) -> Any:
    state: dict[Any, Any] = dict(_state(random)[0])
    names = list(state)
    for _ in range(pick(random, 3)):
        name = names[pick(random, len(names))]
        state[name] = _odd(state[name], random) if isinstance(state[name], Tensor) else state[name]
    if random.random() < 0.2:
        state[OBJECTS[pick(random, 3)]] = torch.zeros(2)
    prefix = str(random.choice(["", "", "module.", "_orig_mod.", "model."]))
    state = {f"{prefix}{name}" if isinstance(name, str) else name: value for name, value in state.items()}
    container = str(random.choice(["", "state_dict", "params_ema", "model", "ema", "nonsense"]))
    return {container: state, "beside": OBJECTS[pick(random, len(OBJECTS))]} if container else state


def _saved(content: Any, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def _pickled(random: np.random.Generator) -> bytes:
    try:
        return _saved(_content(random), legacy=random.random() < 0.2)
    except (RuntimeError, NotImplementedError):  # what the older format cannot hold
        return _saved(_content(random))


def _pickle_bytes(random: np.random.Generator) -> bytes:
    """The archive of a good checkpoint with damage to one of its files, or to the whole."""
    content = _saved(_state(random)[0], legacy=random.random() < 0.3)
    if random.random() < 0.4 or not content.startswith(b"PK"):
        return damaged(content, random)
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(file, "w") as changed:
        names = archive.namelist()
        chosen = next(name for name in names if name.endswith("data.pkl"))
        if random.random() < 0.4:
            chosen = names[pick(random, len(names))]
        for name in names:
            data = archive.read(name)
            changed.writestr(name, damaged(data, random) if name == chosen else data)
    return file.getvalue()
