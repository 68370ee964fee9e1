"""Load networks from files, names and short descriptions, and save them."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.memory import needed_for
from hkdsr.nets import FAMILIES
from hkdsr.nets.base import RUN_SCALES, SCALES, Network
from hkdsr.nets.files.basicsr import official_names
from hkdsr.nets.files.code import from_code, from_weights
from hkdsr.nets.files.ncnn.network import read_ncnn
from hkdsr.nets.files.onnx import OnnxNetwork
from hkdsr.nets.files.openvino import OpenVinoNetwork
from hkdsr.nets.files.pickles import REMEDY
from hkdsr.nets.files.programs import from_program
from hkdsr.nets.files.spandrel import SpandrelNetwork
from hkdsr.nets.files.state_dict import (
    Declared,
    is_safetensors,
    read_checkpoint,
    read_metadata,
    read_safetensors,
    variants,
)
from hkdsr.nets.sanity import require_sane
from hkdsr.nets.wrapped import CODE
from hkdsr.paths import is_file, user_path
from hkdsr.user_code import CodeName, code_name, read_value

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
KEYS_NAMED = 3
SPANDREL_READS = ("compact", "rcan", "span", "swinir")
"""Families of this package whose networks for other scales spandrel reads."""
SMALL = 64
"""Settings up to this size are tried, whatever the weights are."""
READERS: dict[str, Callable[[Path], Network]] = {
    ".onnx": OnnxNetwork.from_file,
    ".param": read_ncnn,
    ".xml": OpenVinoNetwork.from_file,
}
"""What reads the files of other runtimes, by suffix."""
KINDS = {int: "a whole number", float: "a finite number", str: "a name"}


def load(path_or_name: str | Path, scale: int | None = None) -> Network:
    """A network in eval mode, with ``.scale``, from a checkpoint or the name of a network shipped with this package.

    Reads safetensors files of this package, checkpoints of its families as their authors or BasicSR write them
    (strictly: every key must match), files of ONNX (.onnx), OpenVINO (.xml) and ncnn (.param), and files of all other
    networks that spandrel knows. All but the first two become frozen networks. No code in a file is run.

    ``FILE.py:NAME:setting=value,...`` names a function or class in a Python file of your own, and ``FILE.pt:forward``
    or ``FILE.pt2:forward`` a program of TorchScript or torch.export: these are run (docs/guides/own-network.md).
    ``scale`` is passed to Python code if it takes one; other networks have their own.

    Raises:
        HkdsrError: there is no such file or name, the file is damaged or of another format, or its keys do not match
            (the missing and unexpected ones are named); or the code fails, or gives no image of such a scale.
    """
    if not isinstance(path_or_name, str | Path):
        raise HkdsrError(
            f"cannot load an object of the type {type(path_or_name).__name__} as a network: give its file, or the name "
            "of a shipped network"
        )
    if code := code_name(path_or_name):
        # Weights that the code draws itself are the same every time, and nobody else's numbers change.
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            return _from_name(code, scale)
    path = _find(path_or_name)
    with needed_for(str(path), REMEDY):
        return require_sane(_read(path), str(path))


def _from_name(code: CodeName, scale: int | None) -> Network:
    return from_code(code, scale) if code.is_python else from_program(code)


def _read(path: Path) -> Network:
    if path.suffix.lower() in READERS:
        return READERS[path.suffix.lower()](path)
    if is_safetensors(path):
        state, declared = read_safetensors(path)
        if declared and declared[0] == CODE:
            return from_weights(state, declared[1], path)
    state, declared = read_checkpoint(path)
    if declared:
        _require_plausible(declared, state, path)
        return _built(*declared, state, path)
    for candidate in variants(state):
        named = official_names(candidate) or candidate
        family, arguments = _recognised(named, path)
        if family:
            return _built(family, arguments, named, path)
    return SpandrelNetwork.from_states(variants(state), path)


def _built(family: str, arguments: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> Network:
    try:
        network = _construct(family, arguments)
    except HkdsrError as error:
        raise HkdsrError(f"the network of {path} cannot be built: {error}") from error
    return _filled(network, state, path)


def _require_plausible(declared: Declared, state: Mapping[str, Tensor], path: Path) -> None:
    """Before memory is taken: no width or depth is larger than every side, and the number, of the weights."""
    largest = max(SMALL, len(state), *(max(value.shape, default=0) for value in state.values()))
    for name, value in declared[1].items():
        if isinstance(value, int) and value > largest:
            raise HkdsrError(f"{path} declares {name} = {value}, but its weights are far smaller: copy it again")


def build(description: str, scale: int) -> Network:
    """A network from ``family:setting=value,...`` with random weights, or else as ``load`` gives it.

    Raises HkdsrError for an unknown family or setting, an unsuitable value, and a checkpoint of another scale.
    """
    family, _, text = description.partition(":")
    if family in FAMILIES:
        arguments: dict[str, Any] = {}
        for item in filter(None, text.split(",")):
            name, _, value = item.partition("=")
            arguments[name.strip()] = read_value(value.strip())
        if "scale" in arguments:
            raise HkdsrError(f"'{description}' contains a scale, which has a setting of its own: remove it there")
        return _construct(family, {"scale": scale, **arguments})
    if not (Path(family).suffix or is_file(description) or is_file(_shipped(description))):
        raise HkdsrError(f"network family {family!r} is unknown: choose one of {', '.join(FAMILIES)}, or give a file")
    code = code_name(description)
    network = _from_name(code, scale) if code else load(description)
    if network.scale != scale:
        remedy = f"set scale to {network.scale}" if network.scale in SCALES else "choose another one"
        raise HkdsrError(f"{description} is a x{network.scale} network: {remedy}")
    return network


def save(network: Network, path: str | Path, metadata: Mapping[str, str] | None = None, *, half: bool = False) -> None:
    """Write the weights to a safetensors file, from which ``load`` rebuilds the network; ``half`` stores fp16.

    The file is replaced as a whole or not at all. Raises HkdsrError for a network that is not of a family of this
    package, a path that does not end in .safetensors, and a file that cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise HkdsrError(f"{path} does not end in .safetensors, as weight files must: name another target")
    write_atomically(path, to_bytes(network, metadata, half=half))


def to_bytes(network: Network, metadata: Mapping[str, str] | None = None, *, half: bool = False) -> bytes:
    """The content of the file that ``save`` writes."""
    state = public_weights(network)
    if half:
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    description = {"family": network.family, "settings": json.dumps(network.settings)}
    return to_safetensors(state, {**(metadata or {}), **description})


def public_weights(network: Network) -> dict[str, Tensor]:
    """The state dict on the CPU, as public files of the family hold it.

    Raises HkdsrError for a network that is not of a family of this package.
    """
    if not network.trainable:
        raise HkdsrError(f"networks of the family {network.family} cannot be saved: use their original file")
    return {key: value.detach().cpu().contiguous() for key, value in network.public_state().items()}


def metadata(path_or_name: str | Path) -> dict[str, str]:
    """What a safetensors file tells of itself; nothing for other files. Raises HkdsrError if there is no such file."""
    path = _find(path_or_name)
    return read_metadata(path) if is_safetensors(path) else {}


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values: equal weights have equal digests, whatever file they come from."""
    total = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu()
        total.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def file_of(path_or_name: str | Path) -> Path:
    """The file that ``load`` reads. Raises HkdsrError if there is none."""
    return Path(code.file) if (code := code_name(path_or_name)) else _find(path_or_name)


def _find(path_or_name: str | Path) -> Path:
    path = user_path(path_or_name)
    if is_file(path):
        return path
    if is_file(_shipped(path_or_name)):
        return _shipped(path_or_name)
    names = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.safetensors"))) or "none"
    raise HkdsrError(f"there is no checkpoint {path_or_name}: give a file, or a shipped network ({names})")


def _shipped(name: str | Path) -> Path:
    return WEIGHTS / f"{name}.safetensors"


def _recognised(state: Mapping[str, Tensor], path: Path) -> tuple[str | None, dict[str, Any]]:
    """Family and settings, read from the state dict; None if it belongs to no family of this package."""
    for kind in FAMILIES.values():
        try:
            arguments = kind.recognise(state)
        except (ArithmeticError, LookupError, ValueError) as error:
            raise _misshapen(path, kind.family) from error
        if arguments is not None:
            scale = arguments.get("scale")
            if scale in RUN_SCALES and scale not in SCALES and kind.family in SPANDREL_READS:
                return None, {}
            if scale not in SCALES:
                raise HkdsrError(
                    f"{path} is a x{scale} network of the family {kind.family}: give a checkpoint of x2, x3 or x4"
                )
            return kind.family, arguments
    return None, {}


def _misshapen(path: Path, family: str) -> HkdsrError:
    fault = "lacks a weight or has one of another shape"
    return HkdsrError(f"{path} is named like a {family} network but {fault}: copy it again")


def _construct(family: str, arguments: Mapping[str, Any]) -> Network:
    if family not in FAMILIES:
        raise HkdsrError(f"network family {family!r} is unknown: choose one of {', '.join(FAMILIES)}")
    kind = FAMILIES[family]
    known = {name: setting.annotation for name, setting in inspect.signature(kind, eval_str=True).parameters.items()}
    for name, value in arguments.items():
        if name not in known:
            own = [setting for setting in known if setting != "scale"]
            raise HkdsrError(f"{family} has no setting {name!r}: choose one of {', '.join(own)}")
        if not _suits(known[name], value):
            raise HkdsrError(f"{family}'s setting '{name}' is {value!r}: give {KINDS[known[name]]}")
    if "scale" not in arguments:
        raise HkdsrError(f"the scale of {family} is missing: set it to 2, 3 or 4")
    try:
        with needed_for(f"a {family} network with {dict(arguments)}", "choose smaller values, or free memory"):
            return kind(**arguments)
    except (ArithmeticError, RuntimeError, ValueError) as error:
        raise HkdsrError(f"{family} cannot be built with {dict(arguments)}: choose other values") from error


def _suits(kind: type, value: object) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is kind


def _filled(network: Network, state: Mapping[str, Tensor], path: Path) -> Network:
    own = network.state_dict()
    try:
        with needed_for(str(path), REMEDY):
            state = network.own_state(state)
    except (LookupError, RuntimeError) as error:
        raise _misshapen(path, network.family) from error
    fitting = {key: value for key, value in state.items() if key not in own or own[key].shape == value.shape}
    # strict=False returns the keys that do not match. Keys that a network does not take from files (the attention
    # masks of SwinIR) are not among them.
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
            f"{path} does not match the network {network.family} ({'; '.join(faults)}): give a checkpoint of it"
        )
    return network.eval()
