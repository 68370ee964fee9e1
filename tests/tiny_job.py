"""The file of a tiny distillation, for commands and pages that start it as a process."""

from __future__ import annotations

from pathlib import Path

import tiny


def written(folder: Path, name: str, data: str, training: str) -> Path:
    """A recipe in ``folder``, with images and a teacher there; ``data`` and ``training`` are further lines of TOML."""
    recipe = tiny.recipe(folder)
    path = folder / name
    path.write_text(
        f"""
        teacher = "{recipe.teacher}"
        student = "{tiny.STUDENT}"
        target = "hr"
        allow_odd_teacher = true
        method = {{name = "logits"}}
        [data]
        train = ["{folder / "images"}"]
        cache = "{folder / "cache"}"
        patch = 12
        {data}
        [training]
        batch = 3
        ema = 0.9
        device = "cpu"
        threads = 1
        {training}
        """
    )
    return path
