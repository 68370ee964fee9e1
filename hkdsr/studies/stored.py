"""The JSON files of a study's tasks, and whether the settings in them are still those of the study."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.settings.older import of_today
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.resume import flat_settings

Content = TypeVar("Content")


def read_stored(path: Path, convert: Callable[[Any], Content], purpose: str) -> Content | None:
    """What ``convert`` makes of the file's content; None if there is no file.

    Raises HkdsrError if it cannot be read or converted; ``purpose`` says what deleting it then does.
    """
    try:
        return convert(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HkdsrError(f"cannot read {path} ({error.strerror}): check its permissions") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise HkdsrError(f"{path} is damaged or from another version: delete it to {purpose}") from error


def write_stored(path: Path, content: object) -> None:
    """Write the file atomically. Raises HkdsrError if the disk is full."""
    write_atomically(path, json.dumps(content, indent=1).encode())


def changed_settings(stored: Mapping[str, str], expected: Mapping[str, str], recipe: DistillRecipe | None) -> list[str]:
    """The names of flat settings that differ; one that is newer than the stored ones counts as its default there."""
    default = flat_settings(DistillRecipe(method=type(recipe.method)())) if recipe else {}
    stored, expected = of_today(stored), of_today(expected)
    names = sorted(expected.keys() | stored.keys())
    return [name for name in names if expected.get(name) != stored.get(name, default.get(name))]
