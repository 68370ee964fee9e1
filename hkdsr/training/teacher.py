"""Where a training step gets the teacher's pictures: from a store filled once per training picture, or live.

Whole pictures are computed once and crops cut from them: a step then costs no teacher pass, and the teacher sees all
the context around a crop, so its pictures are better than on the crop alone.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from hkdsr.choices import TeacherPictures
from hkdsr.data.crops import Batch
from hkdsr.data.store import DerivedStore, PictureStore
from hkdsr.errors import HkdsrError
from hkdsr.nets.exits import NetworkWithExits, Outputs
from hkdsr.nets.load import digest
from hkdsr.training.distiller import feature_taps, in_full, traced_outputs
from hkdsr.training.fit import TeacherPass
from hkdsr.training.stage1 import infer
from hkdsr.training.student import Say

HEADROOM = 1.5  # "auto" caches only where the disk has this many times the space still needed


def teacher_outputs(
    teacher: NetworkWithExits,
    depths: Sequence[float],
    store: PictureStore,
    cache: Path,
    choice: TeacherPictures,
    device: torch.device,
    say: Say = lambda text: None,
) -> tuple[TeacherPass, DerivedStore | None]:
    """The pass that gives a batch's teacher outputs, and the store whose planes the sampler must add to the batch.

    Cached planes are uint8: the teacher's exits in order, then its final output. Their key is a hash of the weights and
    of the training pictures; a killed build goes on where it stopped. Features, at relative ``depths``, are too large
    to keep: a method that wants some runs the teacher on every batch too, but has its pictures from where others have
    them, so that all methods have the same. ``say`` hears of a build, which may take long.

    Raises HkdsrError if the disk is too full for ``cached``.
    """
    taps = feature_taps(teacher.network, depths)
    derived = None if choice == "live" else _opened(teacher, store, cache, choice)
    if derived is None and choice == "auto":
        say(f"note: {cache} has no room for the teacher's pictures, so it runs on every batch and sees crops only")
    if derived is None:
        return live(teacher.to(device), taps), None
    missing = derived.missing
    if missing:
        say(f"running the teacher once on each of {len(missing)} training pictures; further runs find them in {cache}")
    for index in tqdm(missing, desc="teacher's pictures", unit="picture", disable=None if missing else True):
        derived.put(index, infer(teacher, store.lr(index), device))
    return _with_features(teacher.to(device), taps) if taps else cached, derived


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


def live(teacher: NetworkWithExits, features: Sequence[int] = ()) -> TeacherPass:
    """A pass that runs the teacher on every batch and keeps the outputs of its blocks ``features``."""

    @torch.no_grad()
    def run(batch: Batch) -> Outputs:
        found = in_full(traced_outputs(teacher.network, batch.lr, teacher.exits, features))
        return Outputs(found.final.clamp(0, 1), tuple(exit_.clamp(0, 1) for exit_ in found.exits), found.features)

    return run


def _with_features(teacher: NetworkWithExits, taps: Sequence[int]) -> TeacherPass:
    """A pass that takes pictures as ``cached`` does, and runs the teacher for the outputs of its blocks ``taps``."""

    @torch.no_grad()
    def run(batch: Batch) -> Outputs:
        found = in_full(traced_outputs(teacher.network, batch.lr, None, taps))
        return dataclasses.replace(cached(batch), features=found.features)

    return run


def cached(batch: Batch) -> Outputs:
    """A pass that takes the pictures which the sampler cut from the store."""
    *exits, final = batch.teacher
    return Outputs(final, tuple(exits))
