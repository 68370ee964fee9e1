"""Networks from files, names and short descriptions; and back into files."""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.nets import FAMILIES
from hkdsr.nets.base import Network
from hkdsr.nets.foreign import Foreign

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
NESTED_KEYS = ("params_ema", "params", "state_dict", "model")
WRAPPERS = ("module.", "_orig_mod.")
KEYS_NAMED = 3


def load(path_or_name: str | Path) -> Network:
    """A network in eval mode, with ``.scale``, from a checkpoint or the name of a network shipped with this package.

    Reads our safetensors, published ``.pth`` files of the families here (strictly: every key must match), and
    whatever else spandrel recognises, wrapped as a frozen network.

    Raises:
        HkdsrError: no such file or name, an unreadable or truncated file, a pickle that would run code, or keys that do
            not match (missing and unexpected ones are named).
    """
    path = _find(path_or_name)
    state, settings = read_checkpoint(path)
    if settings is not None:
        family, arguments = settings
        return _filled(_construct(family, arguments), state, path)
    for kind in FAMILIES.values():
        arguments = kind.recognise(state)
        if arguments is not None:
            return _filled(_construct(kind.family, arguments), state, path)
    return Foreign.from_file(path)


def build(description: str, scale: int) -> Network:
    """A network from ``family:setting=value,...`` with fresh weights, or from a checkpoint.

    Raises HkdsrError for an unknown family or setting, and for a checkpoint of another scale.
    """
    family, _, text = description.partition(":")
    if family in FAMILIES:
        arguments: dict[str, int | float | str] = {"scale": scale}
        for item in filter(None, text.split(",")):
            name, _, value = item.partition("=")
            arguments[name.strip()] = _value(value.strip())
        return _construct(family, arguments)
    if not Path(description).suffix and not (WEIGHTS / f"{description}.safetensors").exists():
        raise HkdsrError(f"network family '{family}' is unknown: choose one of {', '.join(FAMILIES)}, or give a file")
    network = load(description)
    if network.scale != scale:
        raise HkdsrError(f"{description} is a x{network.scale} network: set scale to {network.scale}")
    return network


def save(network: Network, path: Path, metadata: Mapping[str, str] | None = None, *, half: bool = False) -> None:
    """Write weights as safetensors that ``load`` can rebuild; atomically. ``half`` stores fp16."""
    if network.family not in FAMILIES:
        raise HkdsrError(f"a {network.family} network cannot be saved to {path}: keep its own file")
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    if half:
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    description = {"family": network.family, "settings": json.dumps(network.settings)}
    write_atomically(path, to_safetensors(state, {**(metadata or {}), **description}))


def digest(state: Mapping[str, Tensor]) -> str:
    """A sha256 of names, shapes and values: equal weights have equal digests wherever they came from."""
    total = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        total.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.view(torch.uint8).numpy().tobytes() if value.ndim else value.numpy().tobytes())
    return total.hexdigest()


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], tuple[str, dict[str, int | float | str]] | None]:
    """The bare state dict of a file, and family and settings if the file says so; see ``load`` for the errors."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise HkdsrError(f"{path} is not a readable safetensors file ({error}): copy it again") from error
        if "family" in metadata:
            return state, (metadata["family"], json.loads(metadata["settings"]))
        return state, None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise HkdsrError(
            f"{path} holds Python objects that would run code when read, or is damaged: ask its author for a "
            "safetensors file or a plain state dict"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise HkdsrError(f"{path} is not a readable checkpoint (truncated or another format): copy it again") from error
    for key in NESTED_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise HkdsrError(f"{path} holds no state dict: give a checkpoint with a network's weights")
    return {_bare(key): value for key, value in content.items()}, None


def _find(path_or_name: str | Path) -> Path:
    path = Path(path_or_name).expanduser()
    if path.is_file():
        return path
    shipped = WEIGHTS / f"{path_or_name}.safetensors"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.safetensors"))) or "none"
    raise HkdsrError(f"there is no checkpoint {path_or_name}: give a file, or a shipped network ({names})")


def _construct(family: str, arguments: Mapping[str, int | float | str]) -> Network:
    if family not in FAMILIES:
        raise HkdsrError(f"network family '{family}' is unknown: choose one of {', '.join(FAMILIES)}")
    kind = FAMILIES[family]
    known = [name for name in inspect.signature(kind).parameters if name != "scale"]
    for name in arguments:
        if name != "scale" and name not in known:
            raise HkdsrError(f"{family} has no setting '{name}': choose from {', '.join(known)}")
    settings: dict[str, Any] = dict(arguments)
    return kind(**settings)


def _filled(network: Network, state: Mapping[str, Tensor], path: Path) -> Network:
    own = network.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
    faults = [
        f"{what} {', '.join(keys[:KEYS_NAMED])}"
        + (f" and {len(keys) - KEYS_NAMED} more" if len(keys) > KEYS_NAMED else "")
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if keys
    ]
    if faults:
        raise HkdsrError(
            f"{path} does not match the network {network.family}: {'; '.join(faults)}; give a checkpoint of it"
        )
    network.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()}, strict=True)
    return network.eval()


def _bare(key: str) -> str:
    """Strip what DistributedDataParallel and torch.compile prepend to parameter names."""
    while key.startswith(WRAPPERS):
        key = key.removeprefix("module.").removeprefix("_orig_mod.")
    return key


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
