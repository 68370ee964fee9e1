"""A recipe from the command line: the file named first, and the flags on top of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeVar

import tyro

from hkdsr.errors import HkdsrError
from hkdsr.methods import METHODS, Method, method_class, method_name
from hkdsr.methods.outside import outside_class
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.toml import read_recipe

Recipe = TypeVar("Recipe")

METHOD_FLAGS = ("--method.name", "--method.use")


def parse_recipe(kind: type[Recipe], name: str, arguments: list[str]) -> Recipe:
    """The recipe of ``hkdsr NAME [RECIPE.toml] [--flags]``.

    Raises HkdsrError for a file that cannot be read or has a mistake.
    """
    default = kind()
    if arguments and not arguments[0].startswith("-"):
        default = read_recipe(Path(arguments[0]), kind)
        arguments = arguments[1:]
    default, arguments = with_method(default, arguments)
    description = f"{(kind.__doc__ or '').strip()} Flags take precedence over RECIPE.toml."
    method = getattr(default, "method", None)
    if isinstance(method, Method):
        description += (
            f"\n\n--method.name NAME chooses the method: {', '.join(METHODS)}; several names with commas between them "
            "are summed. --method.use FILE.py:CLASS takes a method from a file. The method's settings below are those "
            f"of {method_name(method)}; to see those of another method, put its --method.name before --help."
        )
    return tyro.cli(kind, prog=f"hkdsr {name} [RECIPE.toml]", description=description, default=default, args=arguments)


def with_method(recipe: Recipe, arguments: list[str]) -> tuple[Recipe, list[str]]:
    """Take ``--method.name NAME`` out of command line arguments; the recipe then holds that method's defaults.

    NAME may be several names with commas between them, whose sum is then taken; ``--method.use FILE.py:CLASS`` takes a
    method from a file outside the package, its path relative to the current folder.

    The method's own flags depend on it, so it has to be known before the other flags are read. A recipe without a
    method keeps the arguments as they are.

    Raises HkdsrError for an unknown name, and for a file that cannot be run or has no such method.
    """
    if not isinstance(recipe, DistillRecipe):
        return recipe, arguments
    words = [word for a in arguments for word in (a.split("=", 1) if a.split("=")[0] in METHOD_FLAGS else [a])]
    places = [index for index, word in enumerate(words) if word in METHOD_FLAGS]
    if not places:
        return recipe, arguments
    if len(places) > 1:
        raise HkdsrError("--method.name or --method.use is given more than once: leave all but one of them out")
    (at,) = places
    value = "".join(words[at + 1 : at + 2])
    chosen = method_class(value) if words[at] == METHOD_FLAGS[0] else outside_class(value, Path.cwd())
    rest = words[:at] + words[at + 2 :]
    if type(recipe.method) is chosen:
        return recipe, rest
    return dataclasses.replace(recipe, method=chosen()), rest
