"""What trainings have written under a folder, read while they run.

Trainings never wait for this: files are only read, and no lock is taken. A file that is missing, half written or
damaged counts as one that says less.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hkdsr.errors import HkdsrError
from hkdsr.paths import is_file
from hkdsr.processes import Process
from hkdsr.runs.readings import LARGEST, end_of, parsed, records, sound
from hkdsr.runs.run import Run, State
from hkdsr.training.kept_files import FOLDER, kept, read_index

RUN, JOB, LOG, SESSIONS = "run.json", "job.json", "log.jsonl", "sessions.jsonl"
MARKS = {RUN, JOB, SESSIONS}
WEIGHTS = ("student.safetensors", "best.safetensors")
DEEPEST, MOST = 5, 1000
"""So many folders within folders are searched, and so many runs are found."""
TAIL = 1 << 15
"""Bytes of the end of a log that tell how a run is doing."""
SILENT = 900.0
"""Seconds without a new file after which a process on another machine counts as ended."""


def found(root: Path) -> list[Run]:
    """The runs in and below ``root``, by name. Links to folders are not followed."""
    return [read(root, folder) for folder, files in _folders(root) if MARKS & set(files)][:MOST]


def named(root: Path, name: str) -> Run:
    """The run in the folder ``name`` of ``root``. Raises HkdsrError if there is none, or outside of ``root``."""
    folder = inside(root, name)
    if not any(is_file(folder / file) for file in MARKS):
        raise HkdsrError(f"there is no run {name}: choose one of the list")
    return read(root, folder)


def studies(root: Path) -> dict[str, Path]:
    """The folders of studies in and below ``root`` by their names: those that have begun."""
    return {_name(root, folder): folder for folder, files in _folders(root) if _is_study(folder, files)}


def inside(root: Path, name: str) -> Path:
    """The path ``name`` of ``root``, wherever links lead. Raises HkdsrError if that is outside of ``root``."""
    root = root.resolve()
    try:
        path = (root / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise HkdsrError(f"{name!r} is not a path: choose a name of letters and digits") from error
    if not path.is_relative_to(root):
        raise HkdsrError(f"{name} is not in {root}: name a folder within it")
    return path


def read(root: Path, folder: Path) -> Run:
    """The run in ``folder``, which is in ``root``; what cannot be read is left out."""
    said, job = (_object(end_of(folder / name)) for name in (RUN, JOB))
    sessions = records(end_of(folder / SESSIONS))
    recipe = said.get("recipe") or _recipe_of_weights(folder)
    run = Run(
        _name(root, folder),
        folder,
        "stopped",
        {str(name): str(text) for name, text in recipe.items()} if isinstance(recipe, dict) else {},
        log_lines(folder, TAIL),
        sessions[-1] if sessions else {},
        str(said.get("error") or ""),
        _changed(folder),
    )
    trains = Process.read(said.get("process")) if said.get("ended") is None else None
    started = Process.read(job.get("process"))
    state: State = "stopped"
    if any(one and one.runs for one in (trains, started)) or (trains and _runs_elsewhere(trains, run)):
        state = "running"
    elif run.steps is not None and run.step >= run.steps and not run.error:
        state = "finished"
    return dataclasses.replace(run, state=state)


def log_lines(folder: Path, last: int = LARGEST) -> list[dict[str, Any]]:
    """The lines in the ``last`` bytes of a run's log that are whole and sound."""
    lines = records(end_of(folder / LOG, last))
    return [line for line in map(sound, lines) if line]


def differences(one: Run, other: Run) -> list[tuple[str, str, str]]:
    """The settings whose values differ: name, and both values as JSON texts, empty where there is none."""
    names = sorted(one.recipe.keys() | other.recipe.keys())
    pairs = ((name, one.recipe.get(name, ""), other.recipe.get(name, "")) for name in names)
    return [pair for pair in pairs if pair[1] != pair[2]]


def images(run: Run) -> tuple[list[str], list[int], dict[tuple[int, str], Path]]:
    """The images of the last validations: their names, the steps, and the files by the image's place and the kind.

    Kinds are those of ``hkdsr.training.kept_files``. Links are left out.
    """
    folder = run.folder / FOLDER
    files = {key: path for key, path in kept(folder).items() if not path.is_symlink()}
    kinds = [int(kind) for _, kind in files if kind.isdecimal()]
    places = len({place for place, _ in files})
    steps = sorted({step for step in kinds if kinds.count(step) == places})  # all of its images are written
    names = read_index(folder).get("names")
    return list(map(str, names)) if isinstance(names, list) else [], steps, files


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders with the names of their files."""
    for place, folders, files in os.walk(root):
        folder = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != FOLDER)
        if len(folder.relative_to(root).parts) >= DEEPEST:
            folders.clear()
        yield folder, files


def _is_study(folder: Path, files: Sequence[str]) -> bool:
    return "leaderboard.md" in files or (folder / ".locks").is_dir()


def _name(root: Path, folder: Path) -> str:
    return folder.resolve().relative_to(root.resolve()).as_posix()


def _changed(folder: Path) -> float:
    times = [0.0]
    for name in (*MARKS, LOG):
        with suppress(OSError):  # it may go at any moment
            times.append((folder / name).stat().st_mtime)
    return max(times)


def _object(text: str) -> dict[str, Any]:
    content = parsed(text)
    return content if isinstance(content, dict) else {}


def _runs_elsewhere(process: Process, run: Run) -> bool:
    return not process.is_here and time.time() - run.changed < SILENT


def _recipe_of_weights(folder: Path) -> dict[str, str]:
    """The recipe that the head of a file of weights holds: runs of earlier versions have no ``run.json``."""
    for name in WEIGHTS:
        try:
            with (folder / name).open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                head = parsed(file.read(min(length, LARGEST)).decode("utf-8", errors="replace"))
            recipe = parsed(head["__metadata__"]["recipe"])
        except (OSError, LookupError, TypeError):
            continue
        if isinstance(recipe, dict):
            return recipe
    return {}
