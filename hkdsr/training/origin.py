"""Hashes of the files that a method's settings name: when a run is continued, names may be others, contents may not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from hkdsr.errors import HkdsrError
from hkdsr.paths import user_path
from hkdsr.settings.fields import as_tuple
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.resume import settings_by_kind


def content_hashes(recipe: DistillRecipe, teachers: Mapping[str, str]) -> dict[str, str]:
    """Hashes of the files of the method, by the setting that names them: ``{"method.prior_sha256": "..."}``.

    ``teachers`` has the hashes of the weights of the method's ``more_teachers`` by their names. Of a setting's files,
    all or none are hashed under its name; the others, and files that no setting names, are ``files_sha256``.

    Raises HkdsrError for a file that cannot be read.
    """
    hashes = {**teachers, **{path: _hash(path) for path in recipe.method.more_files}}
    found, named = {}, set[str]()
    for name, text in settings_by_kind(recipe, "content").items():
        paths = [str(path) for path in as_tuple(json.loads(text))]
        if name.startswith("method.") and paths and set(paths) <= hashes.keys():
            found[f"{name}_sha256"] = ", ".join(hashes[path] for path in paths)
            named |= set(paths)
    others = [value for path, value in hashes.items() if path not in named]
    return {**found, "files_sha256": ", ".join(others)} if others else found


def _hash(path: str) -> str:
    try:
        return hashlib.sha256(user_path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise HkdsrError(f"cannot read {path} ({error.strerror}): check the method's settings") from error
