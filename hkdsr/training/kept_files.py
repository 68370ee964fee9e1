"""The images of a training's last validations in its folder, which pages read while it runs.

In ``validation`` are, for image 0, ``0_hr.png``, ``0_teacher.png`` and, for each of the last validations, the image
of the averaged student, as ``0_2000.png`` for step 2000. ``images.json`` has the images' ``names``, and a ``key`` that
tells them from others.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FOLDER, INDEX = "validation", "images.json"
HR, TEACHER = "hr", "teacher"
FILE = re.compile(r"(\d+)_(hr|teacher|\d+)\.png")


def kept(folder: Path) -> dict[tuple[int, str], Path]:
    """The files in a folder ``validation`` by the place of the image and the kind: ``hr``, ``teacher`` or a step."""
    try:
        names = [(FILE.fullmatch(path.name), path) for path in folder.iterdir()]
    except OSError:
        return {}
    return {(int(match[1]), match[2]): path for match, path in names if match}


def read_index(folder: Path) -> dict[str, Any]:
    """The content of ``images.json``; empty for a file that is missing or damaged."""
    try:
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
