"""Where a training step gets the teacher's pictures: from a store filled once per training picture, or live.

Whole pictures are computed once and crops cut from them: a step then costs no teacher pass, and the teacher sees all
the context around a crop, so its pictures are better than on the crop alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from tqdm import tqdm

from hkdsr.choices import TeacherPictures
from hkdsr.data.crops import Batch
from hkdsr.data.store import DerivedStore, PictureStore
from hkdsr.errors import HkdsrError
from hkdsr.nets.exits import NetworkWithExits, Pictures
from hkdsr.nets.load import digest
from hkdsr.training.fit import TeacherPass
from hkdsr.training.stage1 import infer

HEADROOM = 1.5  # "auto" caches only where the disk has this many times the space still needed


def teacher_pictures(
    teacher: NetworkWithExits, store: PictureStore, cache: Path, choice: TeacherPictures, device: torch.device
) -> tuple[TeacherPass, DerivedStore | None]:
    """The pass that gives a batch's teacher pictures, and the store whose planes the sampler must add to the batch.

    Cached planes are uint8: the teacher's exits in order, then its final output. Their key is a hash of the weights and
    of the training pictures; a killed build goes on where it stopped.

    Raises HkdsrError if the disk is too full for ``cached``.
    """
    derived = None if choice == "live" else _opened(teacher, store, cache, choice)
    if derived is None:
        return live(teacher.to(device)), None
    missing = derived.missing
    for index in tqdm(missing, desc="teacher's pictures", unit="picture", disable=None if missing else True):
        derived.put(index, infer(teacher, store.lr(index), device))
    return cached, derived


def _opened(
    teacher: NetworkWithExits, store: PictureStore, cache: Path, choice: TeacherPictures
) -> DerivedStore | None:
    """The store to fill; for ``auto`` None where the disk lacks the space for what is still to come.

    What is stored already takes no more of it, so a resumed run chooses as it did when the disk was emptier.
    """
    key = f"{digest(teacher.state_dict())} taps {teacher.exits.taps}"
    try:
        derived = DerivedStore(cache, store, key, len(teacher.exits.taps) + 1)
    except HkdsrError:
        if choice == "cached":
            raise
        return None
    to_come = derived.planes * sum(store.offsets[index + 1] - store.offsets[index] for index in derived.missing)
    scarce = shutil.disk_usage(cache).free < HEADROOM * to_come
    return None if choice == "auto" and scarce else derived


def live(teacher: NetworkWithExits) -> TeacherPass:
    """A pass that runs the teacher on every batch."""

    @torch.no_grad()
    def run(batch: Batch) -> Pictures:
        pictures = teacher(batch.lr)
        return Pictures(
            pictures.final.float().clamp(0, 1), tuple(picture.float().clamp(0, 1) for picture in pictures.exits)
        )

    return run


def cached(batch: Batch) -> Pictures:
    """A pass that takes the pictures which the sampler cut from the store."""
    *exits, final = batch.teacher
    return Pictures(final, tuple(exits))
