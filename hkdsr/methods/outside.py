"""Methods from files outside the package: ``use = "my_method.py:MyKD"`` in the ``[method]`` table of a recipe."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.paths import user_path
from hkdsr.user_code import Origin, run_file

RESERVED = ("name", "use")

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
    code = run_file(path, "set method.use to the method's file", "change method.use")
    kind = _checked(code.module, name, path)
    _origins[kind] = code.origin
    return kind


def method_origin(method: Method) -> Origin | None:
    """The file of a method from ``outside_class``; None for any other method."""
    return _origins.get(type(method))


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
