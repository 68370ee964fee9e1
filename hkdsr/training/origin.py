"""Where a student comes from: hashes of the files that its method names, and the licence of its teacher.

When a run is continued, the files may have other names, but not other contents.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from hkdsr.errors import HkdsrError
from hkdsr.nets.files.licence import KEY, is_non_commercial, licence_of
from hkdsr.paths import is_file, user_path
from hkdsr.settings.fields import as_tuple
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.resume import settings_by_kind

logger = logging.getLogger(__name__)


def teacher_licence(teacher: object) -> dict[str, str]:
    """Metadata on the licence of the weights of ``teacher``, where its file or a card beside it tells it.

    A licence that forbids commercial use is said aloud, as it holds for the student too.
    """
    licence = licence_of(user_path(teacher)) if isinstance(teacher, str | Path) and is_file(user_path(teacher)) else ""
    if is_non_commercial(licence):
        logger.warning("the licence of %s, %s, forbids commercial use, of its students too", teacher, licence)
    return {f"teacher_{KEY}": licence} if licence else {}


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
