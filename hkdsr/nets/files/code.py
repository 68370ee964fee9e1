"""Networks in Python files of users: ``FILE.py:NAME:setting=value,...`` names a function or class that makes one.

A file runs because a user names it, in a command, a recipe or a call, and for no other reason. Weights that were
trained here say which code they belong to; that code is run for them only if it was named on this machine before and
has not changed since.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.files.how_to_run import HOW, how_to_run
from hkdsr.nets.files.named import WEIGHTS, remember, remembered
from hkdsr.nets.files.state_dict import read_checkpoint, variants
from hkdsr.nets.probing import failure
from hkdsr.nets.wrapped import WrappedNetwork
from hkdsr.user_code import CodeName, UserCode, Value, code_name, run_file

SCALE_NAMES = ("scale", "upscale", "upscale_factor", "upscaling_factor", "scale_factor")
NAMED = 3
CODE_KEY, SHA_KEY = "code", "code_sha256"


def from_code(code: CodeName, scale: int | None = None) -> WrappedNetwork:
    """The network that ``code`` names, in eval mode. ``scale`` is passed on if the code takes it and names no other.

    Raises HkdsrError for a file or name that is missing, for code that fails, settings that it does not take, weights
    that do not fit, and what is not a network of such a scale.
    """
    run = _run(code)
    remember(code)
    name = f"{code.file}:{code.name}"
    made, weights = _made(run, code, name, scale)
    if weights is None:
        return _wrapped(made, run, code, name, code)
    _fill(made, weights, name)
    return _wrapped(made, run, code, name, code.without((WEIGHTS,)))


def from_weights(state: Mapping[str, Tensor], settings: Mapping[str, Any], path: Path) -> WrappedNetwork:
    """The network of a safetensors file ``path``, with its ``state`` and the ``settings`` that ``save`` wrote there.

    Raises HkdsrError if that code was not named on this machine before, or has changed.
    """
    told, sha256 = settings.get(CODE_KEY), settings.get(SHA_KEY)
    if not (isinstance(told, str) and isinstance(sha256, str)):
        raise HkdsrError(
            f"{path} holds the weights of a module that was wrapped in Python: load them into it with "
            "load_state_dict(safetensors.torch.load_file(...))"
        )
    _, _, inside = told.partition(":")
    found = remembered(sha256, inside)
    if found is None:
        raise HkdsrError(
            f"{path} belongs to the code {told}, which was not named here before or has changed: name it, as "
            f"{_with_weights(told, path)}"
        )
    code = code_name(f"{found}:{inside}")
    assert code is not None
    run = _run(code)
    name = str(path)
    scale = settings.get("scale")
    made, _ = _made(run, code, name, scale if isinstance(scale, int) else None)
    _load(made, state, path, name)
    return _wrapped(made, run, code, name, code)


def _run(code: CodeName) -> UserCode:
    # What the file draws when it runs, which is once, must not change the weights that are drawn afterwards.
    with torch.random.fork_rng(devices=()):
        return run_file(code.file, "check the path", "name another network")


def _wrapped(made: nn.Module, run: UserCode, code: CodeName, name: str, told: CodeName) -> WrappedNetwork:
    """``told`` is the name from which files of trained weights make the module again."""
    arguments = code.arguments
    how = how_to_run(arguments, name)
    settings: dict[str, int | float | str] = {
        CODE_KEY: f"{code.file.name}:{told.inside}",
        SHA_KEY: run.origin.sha256,
    }
    identity = hashlib.sha256(json.dumps([run.origin.sha256, run.hashes, code.name, _contents(code)]).encode())
    return WrappedNetwork(
        made,
        name,
        identity.digest(),
        settings,
        **how,
    )


def _made(run: UserCode, code: CodeName, name: str, scale: int | None) -> tuple[nn.Module, Path | None]:
    """The module, and the file of its weights if they are still to be loaded."""
    factory, settings = _factory(run, code), code.arguments
    taken = _taken(factory)
    given = _given(settings, taken, factory, code, name, scale)
    try:
        with run.imports():
            made = factory(**given)
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise failure(name, "when it is made", error) from error
    if not isinstance(made, nn.Module):
        raise HkdsrError(f"{name} makes an object of the type {type(made).__name__}: let it return a torch.nn.Module")
    if WEIGHTS not in settings or WEIGHTS in taken:
        return made, None
    weights = code.path_of(settings[WEIGHTS])
    if weights is None:
        raise HkdsrError(f"there is no file {settings[WEIGHTS]} of weights for {name}: check its path")
    return made, weights


def _factory(run: UserCode, code: CodeName) -> Callable[..., object]:
    content = vars(run.module)
    found = content.get(code.name)
    if isinstance(found, nn.Module):  # made when the file ran
        return lambda: copy.deepcopy(found)
    if callable(found):
        return found
    fault = "is not a function or class" if code.name in content else "is not there"
    own = [n for n, v in content.items() if callable(v) and getattr(v, "__module__", "") == run.module.__name__]
    remedy = f"choose one of {', '.join(own)}" if own else "define it"
    raise HkdsrError(f"{code.file} was to have a network '{code.name}', which {fault}: {remedy}")


def _given(
    settings: Mapping[str, Value],
    taken: set[str],
    factory: Callable[..., object],
    code: CodeName,
    name: str,
    scale: int | None,
) -> dict[str, Value]:
    """The arguments for ``factory``."""
    parameters = _parameters(factory)
    any_name = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    given: dict[str, Value] = {}
    for key, value in settings.items():
        if key not in taken and (key == WEIGHTS or key in HOW):
            continue
        if key not in taken and not any_name:
            own = ", ".join(sorted(taken)) or "none"
            raise HkdsrError(f"{name} has no setting '{key}': choose from {own}")
        path = code.path_of(value)
        given[key] = str(path) if path else value
    if scale is not None and not given.keys() & set(SCALE_NAMES):
        given |= dict.fromkeys(_scale_name(parameters), scale)
    for parameter in parameters:
        required = parameter.default is parameter.empty and parameter.name in taken
        if required and parameter.name not in given:
            raise HkdsrError(
                f"{name} needs a value for '{parameter.name}': add it, as {code.file.name}:{code.name}:"
                f"{parameter.name}={2 if parameter.name in SCALE_NAMES else '...'}"
            )
    return given


def _scale_name(parameters: list[inspect.Parameter]) -> list[str]:
    """The parameter that takes a scale, if there is one: by its name, and by the type of its default."""
    for parameter in parameters:
        default = parameter.default
        if parameter.name in SCALE_NAMES and (default is parameter.empty or default is None or type(default) is int):
            return [parameter.name]
    return []


def _taken(factory: Callable[..., object]) -> set[str]:
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name for parameter in _parameters(factory) if parameter.kind in by_name}


def _parameters(factory: Callable[..., object]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        return []


def _fill(model: nn.Module, weights: Path, name: str) -> None:
    state, _ = read_checkpoint(weights)
    own = model.state_dict()
    fitting = (candidate for candidate in variants(state) if not _misfits(own, candidate))
    _load(model, next(fitting, state), weights, name)


def _load(model: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    if misfits := _misfits(model.state_dict(), state):
        raise HkdsrError(f"{path} does not match {name} ({misfits}): give the weights of this network")
    model.load_state_dict(state)


def _misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Why a state dict cannot be loaded; empty if it can."""
    faults = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [key for key in own if key in state and own[key].shape != state[key].shape],
    }
    return "; ".join(
        f"{what} {', '.join(keys[:NAMED])}" + (f" and {len(keys) - NAMED} more" if len(keys) > NAMED else "")
        for what, keys in faults.items()
        if keys
    )


def _contents(code: CodeName) -> dict[str, str]:
    """The settings by name, hashes in place of files."""
    files = {key: code.path_of(value) for key, value in code.arguments.items()}
    return {
        key: str(value) if (path := files[key]) is None else hashlib.sha256(path.read_bytes()).hexdigest()
        for key, value in code.arguments.items()
    }


def _with_weights(told: str, path: Path) -> str:
    return f"{told}{',' if told.count(':') > 1 else ':'}{WEIGHTS}={path}"
