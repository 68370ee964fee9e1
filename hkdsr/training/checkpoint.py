"""Checkpoints to resume from: written atomically, read without running code, refused if the recipe has changed."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.nets.files.state_dict import TORN

FILE = "last.pt"
FORMAT = 2


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on as if never interrupted.

    ``seconds`` of training so far; ``fingerprint`` names the settings that must not change; ``best`` is the best
    validation score so far and ``validated_on`` names the images that it was reached on. The data order needs no
    state: crops depend on seed and step alone.
    """

    step: int
    seconds: float
    fingerprint: dict[str, str]
    best: float
    validated_on: str
    model: dict[str, Any]
    average: dict[str, Any]
    optimiser: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically; HkdsrError if the disk is full."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **vars(checkpoint)}, buffer)
    write_atomically(path, buffer.getvalue())


def read_checkpoint(path: Path, fingerprint: dict[str, str]) -> Checkpoint | None:
    """The checkpoint at ``path``; None if there is none.

    Raises HkdsrError if it is damaged or was made with other settings, which are named.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != FORMAT:
            raise KeyError("format")
        checkpoint = Checkpoint(**content)
    except (*TORN, pickle.UnpicklingError) as error:
        raise HkdsrError(f"{path} is damaged or from another version: delete it to start afresh") from error
    changed = sorted(
        key
        for key in fingerprint.keys() | checkpoint.fingerprint.keys()
        if fingerprint.get(key) != checkpoint.fingerprint.get(key)
    )
    if changed:
        raise HkdsrError(
            f"{path.parent} was begun with other settings ({', '.join(changed)}): set them back, or change 'out'"
        )
    return checkpoint
