"""Which code the user has named on this machine: files of weights may run that code, and no other.

A note is a file in the cache folder, named by a hash of the code's content and of what was named in it. It holds the
path, so that weights find code that was moved and named again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from hkdsr.data.store import default_cache
from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.user_code import CodeName, code_name, read_source

WEIGHTS = "weights"
"""A setting: the file with the weights, for code that does not take a setting of this name itself."""
REMEDY = "check the path"

_named: dict[str, Path] = {}


def remember(code: CodeName) -> None:
    """Note that the user has named ``code``, as its file is now: weights that belong to it may run it."""
    _, origin = read_source(code.file, REMEDY)
    for inside in {code.inside, code.without((WEIGHTS,)).inside}:
        key = _key(origin.sha256, inside)
        _named[key] = origin.path
        with suppress(HkdsrError):  # without the note, weights ask for the name again
            write_atomically(default_cache() / "code" / key, str(origin.path).encode())


def recorded(name: str) -> str:
    """``name``, which was read from a file and not given by the user, if it may be loaded.

    Raises HkdsrError for code that the user has not named before.
    """
    code = code_name(name)
    if code is None:
        return name
    _, origin = read_source(code.file, REMEDY)
    if remembered(origin.sha256, code.inside) is None:
        raise HkdsrError(f"{name} is code that was not named here before or has changed: name it in hkdsr info first")
    return name


def remembered(sha256: str, inside: str) -> Path | None:
    """The file with this content in which the user has named ``inside``; None if there is none, or no longer."""
    key = _key(sha256, inside)
    try:
        path = _named.get(key) or Path((default_cache() / "code" / key).read_text(encoding="utf-8"))
        return path if read_source(path, REMEDY)[1].sha256 == sha256 else None
    except (HkdsrError, OSError, ValueError):
        return None


def _key(sha256: str, inside: str) -> str:
    return hashlib.sha256(json.dumps([sha256, inside]).encode()).hexdigest()
