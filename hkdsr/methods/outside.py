"""Methods from files outside the package: ``use = "my_method.py:MyKD"`` in a recipe's ``[method]`` table."""

from __future__ import annotations

import hashlib
import inspect
import sys
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.paths import user_path

RESERVED = ("name", "use")


@dataclass(frozen=True)
class Origin:
    """The file that a method was read from: its absolute path and the hash of its content."""

    path: Path
    sha256: str


_modules: dict[Origin, ModuleType] = {}
_origins: dict[type[Method], Origin] = {}


def outside_class(use: str, folder: Path) -> type[Method]:
    """The method class of ``FILE.py:CLASS``, its path relative to ``folder``. The file is run, as any import is.

    As long as the file stays as it is, the class is the same one every time.

    Raises HkdsrError: no such file or class, a file that cannot be run, a class that is no method.
    """
    file, _, name = use.rpartition(":")
    if not (file and name):
        raise HkdsrError(f"method.use is '{use}': give a file and a class in it as my_method.py:MyKD")
    path = (folder / user_path(file)).resolve()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise HkdsrError(f"cannot read {path} ({error.strerror}): set method.use to the method's file") from error
    origin = Origin(path, hashlib.sha256(source).hexdigest())
    if origin not in _modules:
        _modules[origin] = _run(source, origin)
    kind = _checked(_modules[origin], name, path)
    _origins[kind] = origin
    return kind


def method_origin(method: Method) -> Origin | None:
    """The file of a method that ``outside_class`` read; None for any other."""
    return _origins.get(type(method))


def _run(source: bytes, origin: Origin) -> ModuleType:
    # Dataclasses look up their module by its name.
    module = ModuleType(f"hkdsr_outside_{origin.sha256[:16]}")
    module.__file__ = str(origin.path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(origin.path), "exec"), vars(module))
    except Exception as error:  # whatever somebody else's file raises
        del sys.modules[module.__name__]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise HkdsrError(f"{origin.path} cannot be run ({reason}): mend it, or set method.use to another") from error
    return module


def _checked(module: ModuleType, name: str, path: Path) -> type[Method]:
    def wrong(what: str, remedy: str) -> HkdsrError:
        return HkdsrError(f"{name} in {path}, which method.use names, {what}: {remedy}")

    own = {n: k for n, k in vars(module).items() if getattr(k, "__module__", None) == module.__name__}
    if name not in own:
        raise wrong("is not defined there", f"choose one of {', '.join(own)}" if own else "define it")
    kind = own[name]
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise wrong("is no method", "derive it from hkdsr.methods.Method")
    if inspect.isabstract(kind):
        raise wrong("has no losses", "define what it returns")
    if "__dataclass_fields__" not in vars(kind):
        raise wrong("is no dataclass", "put @dataclass(frozen=True) before it")
    for setting in fields(kind):
        if setting.name in RESERVED:
            raise wrong(f"has a setting '{setting.name}'", f"call it otherwise, as [method] {setting.name} is taken")
        if setting.init and setting.default is MISSING and setting.default_factory is MISSING:
            raise wrong(f"has a setting '{setting.name}' without a default", "give it one")
    try:
        get_type_hints(kind)
    except (NameError, TypeError) as error:
        raise wrong(f"has a setting of an unknown type ({error})", "import that type at the top of the file") from error
    return kind
