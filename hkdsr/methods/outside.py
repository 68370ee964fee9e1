"""Methods from files outside the package: ``use = "my_method.py:MyKD"`` in the ``[method]`` table of a recipe."""

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
    """The file of a method: its absolute path and the hash of its content."""

    path: Path
    sha256: str


_modules: dict[Origin, ModuleType] = {}
_origins: dict[type[Method], Origin] = {}


def outside_class(use: str, folder: Path) -> type[Method]:
    """The method class of ``FILE.py:CLASS``, with the path relative to ``folder``. The file is run, as by an import.

    While the content of the file is the same, so is the class.

    Raises HkdsrError: no such file or class, a file that cannot be run, a class that is not a method.
    """
    file, _, name = use.rpartition(":")
    if not (file and name):
        raise HkdsrError(f"method.use is '{use}': set it to a file and a class in it, as my_method.py:MyKD")
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
    """The file of a method from ``outside_class``; None for any other method."""
    return _origins.get(type(method))


def _run(source: bytes, origin: Origin) -> ModuleType:
    # Dataclasses find their module by its name.
    module = ModuleType(f"hkdsr_outside_{origin.sha256[:16]}")
    module.__file__ = str(origin.path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(origin.path), "exec"), vars(module))
    except Exception as error:  # the file may raise anything
        del sys.modules[module.__name__]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise HkdsrError(f"{origin.path} cannot be run ({reason}): correct the file or change method.use") from error
    return module


def _checked(module: ModuleType, name: str, path: Path) -> type[Method]:
    def wrong(what: str, remedy: str) -> HkdsrError:
        return HkdsrError(f"method.use names {name} in {path}, which {what}: {remedy}")

    own = {n: k for n, k in vars(module).items() if getattr(k, "__module__", None) == module.__name__}
    if name not in own:
        raise wrong("is not defined there", f"choose one of {', '.join(own)}" if own else "define it")
    kind = own[name]
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise wrong("is not a method", "derive it from hkdsr.methods.Method")
    if inspect.isabstract(kind):
        raise wrong("has no losses", "define the method losses")
    if "__dataclass_fields__" not in vars(kind):
        raise wrong("is not a dataclass", "write @dataclass(frozen=True) before it")
    for setting in fields(kind):
        if setting.name in RESERVED:
            raise wrong(f"has a setting '{setting.name}'", "rename it, as recipes use this name for the method")
        if setting.init and setting.default is MISSING and setting.default_factory is MISSING:
            raise wrong(f"has a setting '{setting.name}' without a default", "give it a default")
    try:
        get_type_hints(kind)
    except (NameError, TypeError) as error:
        raise wrong(f"has a setting of an unknown type ({error})", "import that type at the top of the file") from error
    return kind
