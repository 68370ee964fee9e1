"""Python files of users: running them, and the names ``FILE.py:NAME:setting=value,...`` of what is in them.

Programs, which PyTorch has written (TorchScript and torch.export), are named in the same way, as code that may be run.

A file finds the modules that lie beside it and in the current folder (``import blocks``, ``from .blocks import ...``).
They are kept apart from those of other files, so that two projects may both have a ``blocks.py``.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import invalidate_caches
from pathlib import Path
from types import ModuleType

from hkdsr.errors import HkdsrError
from hkdsr.paths import is_file, user_path

PATTERN = re.compile(
    r"(?P<file>.+?\.(?:py|pt2?|pth|jit|ts))(?::(?P<name>[^:=,/\\]*)(?::(?P<settings>.*))?)?", re.DOTALL
)
WORDS = {"true": True, "false": False, "none": None}

Value = int | float | str | bool | None


@dataclass(frozen=True)
class CodeName:
    """The name ``file:name:settings``; ``settings`` is the text ``setting=value,...``, which may be empty."""

    file: Path
    name: str
    settings: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.inside}"

    @property
    def is_python(self) -> bool:
        """Whether the file is Python's, and not a program that PyTorch has written."""
        return self.file.suffix == ".py"

    @property
    def inside(self) -> str:
        """What is named in the file, as ``Net:features=8``."""
        return f"{self.name}:{self.settings}" if self.settings else self.name

    @property
    def arguments(self) -> dict[str, Value]:
        """The settings by name. Raises HkdsrError for one without ``=``."""
        found: dict[str, Value] = {}
        for item in filter(None, self.settings.split(",")):
            name, sign, value = item.partition("=")
            if not sign:
                raise HkdsrError(f"{self} has '{item}' among its settings: write it as setting=value")
            found[name.strip()] = read_value(value.strip())
        return found

    def without(self, names: tuple[str, ...]) -> CodeName:
        """The same without the settings of these ``names``."""
        kept = [item for item in self.settings.split(",") if item.partition("=")[0].strip() not in names]
        return replace(self, settings=",".join(kept))

    def path_of(self, value: Value) -> Path | None:
        """The file that a setting's value names, relative to this file or else to the current folder; None if none."""
        if not isinstance(value, str) or not value:
            return None
        path = user_path(value)
        return next((found for found in (self.file.resolve().parent / path, path.absolute()) if is_file(found)), None)


@dataclass(frozen=True)
class Origin:
    """The absolute path of a file and the SHA-256 of its content."""

    path: Path
    sha256: str


@dataclass
class UserCode:
    """A file that was run: its ``module``, and the modules ``beside`` it that it has imported, by name."""

    origin: Origin
    module: ModuleType
    beside: dict[str, ModuleType] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files of ``beside``, by the same names."""

    @contextmanager
    def imports(self) -> Iterator[None]:
        """Inside, imports find what lies beside the file, then what lies in the current folder."""
        folders = [self.origin.path.parent, Path.cwd()]
        before = {name.partition(".")[0] for name in sys.modules}
        hidden = {name: sys.modules[name] for name in self.beside if name in sys.modules}
        sys.modules.update({name: module for name, module in self.beside.items() if not name.startswith(".")})
        absolute: list[str] = []
        sys.path[:0] = map(str, folders)
        invalidate_caches()
        try:
            yield
        finally:
            for folder in folders:
                if str(folder) in sys.path:
                    sys.path.remove(str(folder))
            for name, module in list(sys.modules.items()):
                top = name.partition(".")[0]
                if name.startswith(f"{self.module.__name__}."):  # by a relative import
                    self._keep(name.removeprefix(self.module.__name__), module)
                elif name in self.beside or (top not in before and _lies_in(sys.modules.get(top), folders)):
                    self._keep(name, module)
                    absolute.append(name)
            for name in absolute:
                del sys.modules[name]
            sys.modules.update(hidden)

    @property
    def current(self) -> bool:
        """Whether the files beside it have not changed since they were imported."""
        files = {name: path for name, module in self.beside.items() if (path := _file(module))}
        return all(is_file(path) and _sha256(path) == self.hashes[name] for name, path in files.items())

    def _keep(self, name: str, module: ModuleType) -> None:
        self.beside[name] = module
        if (path := _file(module)) and name not in self.hashes:
            self.hashes[name] = _sha256(path)


_run: dict[Origin, UserCode] = {}


def code_name(text: object) -> CodeName | None:
    """The parts of ``FILE.py:NAME:setting=value,...``, or of a program's name; None for any other text or object.

    Raises HkdsrError for a Python file alone, without a name in it.
    """
    if not isinstance(text, str | Path) or not (match := PATTERN.fullmatch(str(text))):
        return None
    file, name = user_path(match["file"]), (match["name"] or "").strip()
    if not name and file.suffix != ".py":
        return None
    if not name:
        raise HkdsrError(f"{file} is a Python file: name the function or class in it, as {file.name}:Net")
    return CodeName(file, name, (match["settings"] or "").strip())


def read_value(text: str) -> Value:
    """A setting's value: a whole number, a number, true, false or none in any case, else text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return WORDS.get(text.lower(), text)


def read_source(path: Path, remedy: str) -> tuple[bytes, Origin]:
    """The content of a Python file and its origin. Raises HkdsrError, which ends in ``remedy``."""
    try:
        path = path.resolve()
        source = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise HkdsrError(f"cannot read {path} ({reason}): {remedy}") from error
    return source, Origin(path, hashlib.sha256(source).hexdigest())


def run_file(path: Path, remedy: str, otherwise: str) -> UserCode:
    """Run a Python file as by an import; while it and the modules beside it are the same, it is run once.

    Raises HkdsrError for a file that cannot be read, which ends in ``remedy``, and for one that cannot be run, which
    ends in "correct the file or" and ``otherwise``.
    """
    source, origin = read_source(path, remedy)
    if origin in _run and _run[origin].current:
        return _run[origin]
    # Dataclasses find their module by its name, and relative imports what lies beside it by its path.
    name = f"hkdsr_outside_{hashlib.sha256(str(origin).encode()).hexdigest()[:16]}"
    _forget(name)
    code = UserCode(origin, ModuleType(name))
    vars(code.module).update(__file__=str(origin.path), __package__=name, __path__=[str(origin.path.parent)])
    sys.modules[name] = code.module
    try:
        with code.imports():
            exec(compile(source, str(origin.path), "exec"), vars(code.module))
    except (Exception, SystemExit) as error:  # the file may raise anything, and end the process
        del sys.modules[code.module.__name__]
        missing = "install what is missing, " if isinstance(error, ModuleNotFoundError) else ""
        raise HkdsrError(
            f"{origin.path} cannot be run ({reason_of(error)}): {missing}correct the file or {otherwise}"
        ) from error
    _run[origin] = code
    return code


def reason_of(error: BaseException) -> str:
    """An error of a user's code in one line."""
    if isinstance(error, SystemExit):
        return "it ends the process; put what runs as a script under if __name__ == '__main__'"
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _forget(name: str) -> None:
    """Take a module and those inside it out of Python's list."""
    for key in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        del sys.modules[key]


def _lies_in(top: ModuleType | None, folders: Sequence[Path]) -> bool:
    """Whether a top-level module was found in one of ``folders`` itself, and not deeper."""
    if top is None:
        return False
    path = _file(top)
    places = [path.parent if path.name == "__init__.py" else path] if path else getattr(top, "__path__", ())
    return any(Path(place).resolve().parent in folders for place in places)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _file(module: ModuleType) -> Path | None:
    """The file of a module; None for one without, such as a folder without ``__init__.py``."""
    name = getattr(module, "__file__", None)
    return Path(name) if name else None
