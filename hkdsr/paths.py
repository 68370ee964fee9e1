"""Looking at paths that people name: a missing file, a closed folder and an impossible name are told apart."""

from __future__ import annotations

import errno
import glob
import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hkdsr.errors import HkdsrError

NO_SUCH_NAME = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
"""Errors of the system for names under which there is nothing."""
WILDCARDS = "*?["


def user_path(path: str | Path) -> Path:
    """The path with ``~`` replaced by the home folder. Raises HkdsrError if there is no home folder."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, KeyError) as error:
        raise HkdsrError(f"{path} begins with ~, but the home folder is not known: give the whole path") from error


def is_file(path: str | Path) -> bool:
    """Whether there is a file. Raises HkdsrError where that cannot be looked up."""
    mode = _mode(Path(path))
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder. Raises HkdsrError where that cannot be looked up."""
    mode = _mode(Path(path))
    return mode is not None and stat.S_ISDIR(mode)


def exists(path: str | Path) -> bool:
    """Whether there is anything. Raises HkdsrError where that cannot be looked up."""
    return _mode(Path(path)) is not None


def leads_nowhere(path: Path) -> bool:
    """Whether this is a link to something that is not there."""
    return path.is_symlink() and not exists(path)


def same_file(one: Path, other: Path) -> bool:
    """Whether both are there and are one file or folder, under whatever names."""
    return exists(one) and exists(other) and one.samefile(other)


def entries(folder: Path) -> list[Path]:
    """What is in ``folder``, by name. Raises HkdsrError if it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise HkdsrError(
            f"cannot list the folder {folder} ({reason}): change its permissions, or name another"
        ) from error


def matching_paths(patterns: Iterable[str | Path]) -> list[Path]:
    """Every path, and all that match where one is a pattern with wildcards; each once, in order.

    Raises HkdsrError for a pattern that nothing matches.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = user_path(pattern)
        if exists(path) or not any(sign in str(path) for sign in WILDCARDS):
            found.append(path)
            continue
        matched = sorted(glob.glob(str(path)))
        if not matched:
            raise HkdsrError(f"nothing matches {pattern}: check the pattern")
        found += map(Path, matched)
    return list(dict.fromkeys(found))


def require_writable(target: Path, *, folder: bool = False) -> None:
    """Raises HkdsrError if the file (or ``folder``) ``target`` cannot be made or written to; leaves nothing behind."""
    target = Path(os.path.abspath(target))
    if exists(target) and is_folder(target) != folder:
        raise HkdsrError(f"{target} is {'not a folder' if folder else 'a folder'}: name another target")
    nearest = target if folder else target.parent
    while not exists(nearest):
        nearest = nearest.parent
    if not is_folder(nearest):
        raise HkdsrError(f"cannot write {target}, as {nearest} is not a folder: name another target")
    try:
        with suppress(FileNotFoundError):
            os.lstat(target)  # says whether the name is too long
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise HkdsrError(f"cannot write {target} ({error.strerror}): free space or name another target") from error


def _mode(path: Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except ValueError:  # a null character
        return None
    except OSError as error:
        if error.errno in NO_SUCH_NAME:
            return None
        raise HkdsrError(f"cannot look at {path} ({error.strerror}): check the permissions of its folders") from error
