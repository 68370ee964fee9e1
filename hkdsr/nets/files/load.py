"""Networks from files, names and short descriptions; and back into files."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.nets import FAMILIES
from hkdsr.nets.base import Network
from hkdsr.nets.files.onnx import OnnxNetwork
from hkdsr.nets.files.spandrel import SpandrelNetwork
from hkdsr.nets.files.state_dict import read_checkpoint
from hkdsr.nets.sanity import require_sane

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
KEYS_NAMED = 3
KINDS = {int: "a whole number", float: "a finite number", str: "a word"}


def load(path_or_name: str | Path) -> Network:
    """A network in eval mode, with ``.scale``, from a checkpoint or the name of a network shipped with this package.

    Reads our safetensors, published ``.pth`` files of the families here (strictly: every key must match), ONNX files,
    and whatever else spandrel recognises; the latter two wrapped as frozen networks.

    Raises:
        HkdsrError: no such file or name, an unreadable or truncated file, a pickle that would run code, or keys that do
            not match (missing and unexpected ones are named).
    """
    if not isinstance(path_or_name, str | Path):
        raise HkdsrError(
            f"cannot load an object of the type {type(path_or_name).__name__} as a network: give its file, or the name "
            "of a shipped network"
        )
    path = _find(path_or_name)
    return require_sane(_read(path), str(path))


def _read(path: Path) -> Network:
    if path.suffix == ".onnx":
        return OnnxNetwork.from_file(path)
    state, told = read_checkpoint(path)
    family, arguments = told or _recognised(state, path)
    if family is None:
        return SpandrelNetwork.from_file(path)
    try:
        network = _construct(family, arguments)
    except HkdsrError as error:
        raise HkdsrError(f"{path} cannot be made a network: {error}") from error
    return _filled(network, state, path)


def build(description: str, scale: int) -> Network:
    """A network from ``family:setting=value,...`` with fresh weights, or from a checkpoint.

    Raises HkdsrError for an unknown family or setting, a value that does not suit it, and for a checkpoint of another
    scale.
    """
    family, _, text = description.partition(":")
    if family in FAMILIES:
        arguments: dict[str, Any] = {}
        for item in filter(None, text.split(",")):
            name, _, value = item.partition("=")
            arguments[name.strip()] = _value(value.strip())
        if "scale" in arguments:
            raise HkdsrError(f"'{description}' names a scale, which is a setting of its own: leave it out there")
        return _construct(family, {"scale": scale, **arguments})
    if not (Path(family).suffix or Path(description).is_file() or _shipped(description).is_file()):
        raise HkdsrError(f"network family {family!r} is unknown: choose one of {', '.join(FAMILIES)}, or give a file")
    network = load(description)
    if network.scale != scale:
        raise HkdsrError(f"{description} is a x{network.scale} network: set scale to {network.scale}")
    return network


def save(network: Network, path: str | Path, metadata: Mapping[str, str] | None = None, *, half: bool = False) -> None:
    """Write weights as safetensors that ``load`` can rebuild; atomically. ``half`` stores fp16.

    Raises HkdsrError for a network that is not of a family here, a path that does not end in .safetensors, and where
    the file cannot be written.
    """
    path = Path(path)
    if network.family not in FAMILIES:
        raise HkdsrError(f"a {network.family} network cannot be saved to {path}: keep its own file")
    if path.suffix != ".safetensors":
        raise HkdsrError(f"{path} would hold safetensors under another name: let it end in .safetensors")
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    if half:
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    description = {"family": network.family, "settings": json.dumps(network.settings)}
    write_atomically(path, to_safetensors(state, {**(metadata or {}), **description}))


def digest(state: Mapping[str, Tensor]) -> str:
    """A sha256 of names, shapes and values: equal weights have equal digests wherever they came from."""
    total = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu()
        total.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _find(path_or_name: str | Path) -> Path:
    path = Path(path_or_name).expanduser()
    if path.is_file():
        return path
    if _shipped(path_or_name).is_file():
        return _shipped(path_or_name)
    names = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.safetensors"))) or "none"
    raise HkdsrError(f"there is no checkpoint {path_or_name}: give a file, or a shipped network ({names})")


def _shipped(name: str | Path) -> Path:
    return WEIGHTS / f"{name}.safetensors"


def _recognised(state: Mapping[str, Tensor], path: Path) -> tuple[str | None, dict[str, Any]]:
    """Family and settings read off the state dict; None if it is no family's here."""
    for kind in FAMILIES.values():
        try:
            arguments = kind.recognise(state)
        except (ArithmeticError, LookupError, ValueError) as error:
            fault = "lacks a weight or has one of another shape"
            raise HkdsrError(f"{path} is named like a {kind.family} network but {fault}: copy it again") from error
        if arguments is not None:
            return kind.family, arguments
    return None, {}


def _construct(family: str, arguments: Mapping[str, Any]) -> Network:
    if family not in FAMILIES:
        raise HkdsrError(f"network family {family!r} is unknown: choose one of {', '.join(FAMILIES)}")
    kind = FAMILIES[family]
    known = {name: setting.annotation for name, setting in inspect.signature(kind, eval_str=True).parameters.items()}
    for name, value in arguments.items():
        if name not in known:
            own = [setting for setting in known if setting != "scale"]
            raise HkdsrError(f"{family} has no setting {name!r}: choose from {', '.join(own)}")
        if not _suits(known[name], value):
            raise HkdsrError(f"{family}'s setting '{name}' is {value!r}: give {KINDS[known[name]]}")
    if "scale" not in arguments:
        raise HkdsrError(f"{family} has no scale: set it to 2, 3 or 4")
    try:
        return kind(**arguments)
    except (ArithmeticError, RuntimeError, ValueError) as error:
        raise HkdsrError(f"{family} cannot be built with {dict(arguments)}: choose other numbers") from error


def _suits(kind: type, value: object) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is kind


def _filled(network: Network, state: Mapping[str, Tensor], path: Path) -> Network:
    own = network.state_dict()
    fitting = {key: value for key, value in state.items() if key not in own or own[key].shape == value.shape}
    # Not strict, because it then tells the keys; it knows of those that a network keeps its own, as SwinIR its masks.
    missing, unexpected = network.load_state_dict(fitting, strict=False)
    faults = [
        f"{what} {', '.join(keys[:KEYS_NAMED])}"
        + (f" and {len(keys) - KEYS_NAMED} more" if len(keys) > KEYS_NAMED else "")
        for what, keys in (
            ("missing", [key for key in missing if key not in state]),
            ("unexpected", unexpected),
            ("of another shape", [key for key in missing if key in state]),
        )
        if keys
    ]
    if faults:
        raise HkdsrError(
            f"{path} does not match the network {network.family}: {'; '.join(faults)}; give a checkpoint of it"
        )
    return network.eval()


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
