"""Keeping images of a training's last validations, for people to look at: small PNG files, and few of them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hkdsr.data.tensors import rounded, to_tensor, to_uint8
from hkdsr.deploy.piecewise import enlarged
from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.memory import CUT
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import digest
from hkdsr.training.kept_files import FOLDER, HR, INDEX, TEACHER, kept, read_index

COUNT = 2
"""Images that are kept where the recipe does not say it."""
SIDE = 320
"""Pixels: of larger images the middle is kept."""
LAST = 8
MARGIN = 16
"""LR pixels around the middle that the teacher sees too."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validated:
    """An image of a validation: its name, LR (h, w, 3), the student's (scale*h, scale*w, 3) and HR, all uint8."""

    name: str
    lr: np.ndarray
    sr: np.ndarray
    hr: np.ndarray | None


class KeptImages:
    """Keeps the first ``count`` images of each validation in the run's folder ``out``.

    ``teacher``, which is frozen, gives its images of them once; None for a training without one.
    """

    def __init__(self, out: Path, count: int, teacher: Network | None = None) -> None:
        self.count = count
        self._folder, self._teacher = out / FOLDER, teacher

    def keep(self, step: int, key: str, images: Sequence[Validated]) -> None:
        """Write the images of the validation after ``step`` steps; ``key`` tells validation images from others.

        Older ones are deleted, as are those of later steps, which a killed run wrote, and of other validation images.
        Raises WriteError where a file cannot be written.
        """
        key = hashlib.sha256(f"{key} {self._teacher_hash} {len(images)}".encode()).hexdigest()
        if read_index(self._folder).get("key") != key:
            self._remove(set())
            for place, image in enumerate(images):
                self._write_references(place, image)
            index = {"key": key, "names": [image.name for image in images]}
            write_atomically(self._folder / INDEX, json.dumps(index).encode())
        for place, image in enumerate(images):
            self._write(place, str(step), image.sr[middle(image.sr.shape)])
        steps = sorted({int(kind) for _, kind in kept(self._folder) if kind.isdecimal() and int(kind) <= step})
        self._remove({HR, TEACHER, *map(str, steps[-LAST:])})

    @cached_property
    def _teacher_hash(self) -> str:
        return digest(self._teacher.state_dict()) if self._teacher else ""

    def _write_references(self, place: int, image: Validated) -> None:
        if image.hr is not None:
            self._write(place, HR, image.hr[middle(image.hr.shape)])
        if self._teacher is None:
            return
        try:
            self._write(place, TEACHER, _of_teacher(self._teacher, image))
        except HkdsrError as error:
            logger.warning("the teacher's image of %s is not kept: %s", image.name, error)

    def _write(self, place: int, kind: str, pixels: np.ndarray) -> None:
        buffer = BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
        write_atomically(self._folder / f"{place}_{kind}.png", buffer.getvalue())

    def _remove(self, kinds_left: set[str]) -> None:
        for (_, kind), path in kept(self._folder).items():
            if kind not in kinds_left:
                with suppress(OSError):
                    path.unlink()


def middle(shape: Sequence[int], side: int = SIDE) -> tuple[slice, slice]:
    """Rows and columns of the middle of an image (H, W, ...), at most ``side`` pixels a side."""
    tops = (max(0, (size - side) // 2) for size in shape[:2])
    rows, columns = (slice(top, top + min(side, size)) for top, size in zip(tops, shape, strict=False))
    return rows, columns


# Not in inference mode: what a network remembers of a size could then not be used where a method needs gradients.
@torch.no_grad()
def _of_teacher(network: Network, image: Validated) -> np.ndarray:
    """The teacher's image of the middle, which it sees with a margin, to be quick for large images too."""
    scale = network.scale
    wanted = middle(image.sr.shape)
    seen = [slice(max(0, part.start // scale - MARGIN), -(-part.stop // scale) + MARGIN) for part in wanted]
    device = next(network.parameters(), torch.zeros(())).device
    lr = to_tensor(image.lr[*seen], device)
    sr, *_ = enlarged(network, lr, image.name, CUT, lambda made: [*map(rounded, made)])
    places = zip(wanted, seen, strict=True)
    cut = (slice(part.start - scale * own.start, part.stop - scale * own.start) for part, own in places)
    return to_uint8(sr)[*cut]
