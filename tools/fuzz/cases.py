"""One case: a damaged file by its name, what the package does with it, and whether that is allowed."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hkdsr.errors import HkdsrError
from tools.fuzz import formats, images, models, recipes

LONGEST_SENTENCE = 500
FAULT = "FAULT"


@dataclass(frozen=True)
class Kind:
    """How files of one kind are made in a folder, from random numbers, and then used there."""

    make: Callable[[np.random.Generator, Path], Path]
    use: Callable[[Path, Path], None]


KINDS = {
    "image": Kind(images.make, images.use),
    "model": Kind(models.make, models.use),
    "recipe": Kind(recipes.make, recipes.use),
    "format": Kind(formats.make, models.use),
}


def made(case: str, seed: int, folder: Path) -> Path:
    """The file of ``case``, a kind and a number as in image-0123. Raises ValueError for another name."""
    kind, _, number = case.partition("-")
    if kind not in KINDS or not number.isdigit():
        raise ValueError(f"{case} is no case: name one as image-0123, with one of {', '.join(KINDS)}")
    random = np.random.default_rng([seed, list(KINDS).index(kind), int(number)])
    return KINDS[kind].make(random, folder)


def outcome(case: str, seed: int, folder: Path) -> str:
    """What becomes of ``case`` in the empty ``folder``: "result", "refused: SENTENCE" or "FAULT: REASON"."""
    path = made(case, seed, folder)
    given = {file.name for file in folder.iterdir()} | {path.name}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _in_silence(KINDS[case.partition("-")[0]].use, path, folder)
        said = "result"
    except HkdsrError as error:
        said = _judged(str(error), path)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return f"{FAULT}: {type(error).__name__} at {where}: {str(error)[:300]}"
    left = {file.name for file in folder.iterdir()} - given - {"large.png" if said == "result" else ""}
    return f"{FAULT}: {', '.join(sorted(left))} left behind; {said}" if left else said


def _in_silence(use: Callable[[Path, Path], None], path: Path, folder: Path) -> None:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        use(path, folder)
    finally:
        logging.disable(before)


def _judged(sentence: str, path: Path) -> str:
    if "\n" in sentence or "\r" in sentence:
        return f"{FAULT}: a sentence of several lines: {sentence!r}"
    if len(sentence.replace(str(path.parent), "")) >= LONGEST_SENTENCE:
        return f"{FAULT}: a sentence of {len(sentence)} characters: {sentence[:200]}"
    if path.name not in sentence:
        return f"{FAULT}: a sentence without the file's name: {sentence}"
    return f"refused: {sentence.replace(f'{path.parent}/', '')}"
