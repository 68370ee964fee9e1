"""Short names for networks and runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hkdsr.paths import is_folder, user_path
from hkdsr.user_code import code_name


def labels(names: Sequence[str | Path], taken: Sequence[str] = ()) -> list[str]:
    """The names of folders, of code, and of files without their suffix.

    Those that are equal or in ``taken`` are preceded by the folder that they are in: the students of all runs have the
    same file name.
    """
    codes = [code_name(name) for name in names]
    paths = [path.resolve() if is_folder(path) else path for path in map(user_path, names)]
    short = [
        f"{code.file.name}:{code.inside}" if code else path.name if is_folder(path) else path.stem
        for code, path in zip(codes, paths, strict=True)
    ]
    used = [*short, *taken]
    return [
        name if used.count(name) == 1 else f"{path.parent.name}/{name}" for name, path in zip(short, paths, strict=True)
    ]
