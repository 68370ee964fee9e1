"""Checkpoints to resume from: written atomically, read without running code, refused if the recipe has changed."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.memory import needed_for
from hkdsr.nets.files.pickles import DAMAGED
from hkdsr.paths import exists
from hkdsr.settings.older import of_today

FILE = "last.pt"
FORMAT = 2
HASH = "_sha256"
"""End of the keys of a fingerprint that are hashes of a setting's file, and not its value."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to continue as if it had never been interrupted.

    ``seconds`` of training so far; ``fingerprint`` holds the settings that must not change; ``best`` is the best
    validation score so far and ``validated_on`` a hash of the images it was reached on; ``metadata`` is what the
    file of the weights will say about the run. The data order needs no state: crops depend only on seed and step.
    """

    step: int
    seconds: float
    fingerprint: dict[str, str]
    best: float
    validated_on: str
    model: dict[str, Any]
    average: dict[str, Any]
    optimiser: dict[str, Any]
    metadata: dict[str, str] = field(default_factory=dict)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically. Raises HkdsrError if the disk is full."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **vars(checkpoint)}, buffer)
    write_atomically(path, buffer.getvalue())


def read_checkpoint(path: Path, fingerprint: Mapping[str, str] | None, free: Collection[str] = ()) -> Checkpoint | None:
    """The checkpoint at ``path``; None if there is none.

    Raises HkdsrError if it is damaged, or was made with other settings than those of ``fingerprint``, which are named;
    those in ``free`` may differ. None takes any settings.
    """
    if not exists(path):
        return None
    try:
        with needed_for(str(path), "free memory, or delete it to start again"):
            content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != FORMAT:
            raise KeyError("format")
        checkpoint = Checkpoint(**content)
    except DAMAGED as error:
        raise HkdsrError(f"{path} is damaged or from another version: delete it to start again") from error
    if fingerprint is None:
        return checkpoint
    now, then = of_today(fingerprint), of_today(checkpoint.fingerprint)
    changed = sorted(key for key in (now.keys() | then.keys()) - set(free) if now.get(key) != then.get(key))
    if changed:
        raise HkdsrError(
            f"{path.parent} was begun with other settings ({', '.join(map(_described, changed))}): set them back, or "
            "change 'out'"
        )
    return checkpoint


def _described(key: str) -> str:
    """``content of teacher`` for the hash ``teacher_sha256``."""
    return f"content of {key.removesuffix(HASH)}" if key.endswith(HASH) else key
