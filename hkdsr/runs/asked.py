"""What somebody asks to distil who is not at the terminal: as its arguments, and whether that is allowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hkdsr.errors import HkdsrError
from hkdsr.paths import exists, user_path
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.toml import read_recipe, read_toml
from hkdsr.user_code import code_name

CODE = "is code, which the page does not run: run hkdsr distill in a terminal"


@dataclass(frozen=True)
class Asked:
    """The ``name`` of a run, which is its folder, a ``recipe``'s file, and what takes the place of its settings.

    Settings that are None, empty or 0 are those of the recipe, or the defaults. ``images`` and ``val`` are folders.
    """

    name: str
    recipe: str | None = None
    teacher: str | None = None
    student: str | None = None
    images: Sequence[str] | None = None
    val: str | None = None
    scale: int | None = None
    method: str | None = None
    steps: int | None = None

    def arguments(self, out: Path) -> list[str]:
        """The arguments of ``hkdsr distill`` for a run in ``out``."""
        flags = {
            "method.name": self.method,
            "teacher": self.teacher,
            "student": self.student,
            "scale": self.scale,
            "data.val": self.val,
            "training.steps": self.steps,
            "out": out,
        }
        # With "=", as a value that begins with a dash is no flag then.
        given = [f"--{name}={value}" for name, value in flags.items() if value]
        images = ["--data.train", *map(_absolute, self.images)] if self.images else []
        return [*([_absolute(self.recipe)] if self.recipe else []), *given, *images]


def require_allowed(asked: Asked, folders: Sequence[Path]) -> None:
    """Raise HkdsrError for code, for files outside of ``folders``, and for a recipe that cannot be read."""
    for name in filter(None, (asked.recipe, asked.val, *(asked.images or ()))):
        _require_inside(name, folders)
    for text in filter(None, (asked.teacher, asked.student)):
        _require_no_code(text)
        if _names_file(text):
            _require_inside(text, folders)
    if asked.recipe:
        path = Path(_absolute(asked.recipe))
        # Before it is read as a recipe, as a method from a file would be run then.
        if "use" in _keys(read_toml(path)):
            raise HkdsrError(f"{path} sets method.use, which {CODE}")
        for value in _values(dataclasses.replace(read_recipe(path, DistillRecipe), out=folders[0])):
            _require_no_code(value)
            if isinstance(value, Path) or _names_file(value):
                _require_inside(value, folders)


def _absolute(path: str) -> str:
    return str(user_path(path).resolve())


def _require_no_code(name: str | Path) -> None:
    if code_name(name) is not None:
        raise HkdsrError(f"{name} {CODE}")


def _require_inside(path: str | Path, folders: Sequence[Path]) -> None:
    try:
        place = user_path(path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise HkdsrError(f"{path} is not a path: choose one of the list") from error
    if not any(place.is_relative_to(folder) for folder in folders):
        raise HkdsrError(f"{path} is outside of the folders that the page was given: name one in them")


def _names_file(text: str) -> bool:
    """Whether a text is the name of a file; else it is a network's description, a budget or the like."""
    return bool(text) and (bool({"/", "\\"} & set(text)) or text.startswith(("~", "..")) or exists(text))


def _keys(content: Any) -> Iterator[str]:
    """The names in the tables and lists of a TOML file."""
    if isinstance(content, dict):
        yield from content
        content = list(content.values())
    for value in content if isinstance(content, list) else ():
        yield from _keys(value)


def _values(settings: Any) -> Iterator[str | Path]:
    """Every text and path among the settings of a recipe."""
    if dataclasses.is_dataclass(settings):
        for setting in dataclasses.fields(settings):
            yield from _values(getattr(settings, setting.name))
    elif isinstance(settings, tuple | list):
        for value in settings:
            yield from _values(value)
    elif isinstance(settings, str | Path):
        yield settings
