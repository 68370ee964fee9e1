"""Running the teacher once on every training image, shared by the processes of a job; the results are kept in stores.

Each process takes every n-th of the images that are missing and lists its own in a log of its own, so none waits for
another. When all are there, one log lists them in order: however many processes made the images, and however often they
were killed, the folder is the same, byte for byte.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from hkdsr.data.derived import DerivedStore, JoinedStores
from hkdsr.data.store import ImageStore
from hkdsr.data.tensors import rounded, to_tensor, to_uint8
from hkdsr.deploy.piecewise import Images, enlarged
from hkdsr.devices import autocast
from hkdsr.errors import HkdsrError
from hkdsr.memory import OutOfMemoryError, needed_for
from hkdsr.nets.exits import NetworkWithExits
from hkdsr.nets.files.load import digest
from hkdsr.nets.sanity import name_of, require_image
from hkdsr.settings.choices import TeacherImages
from hkdsr.training.distributed import check_launcher
from hkdsr.training.process_group import ProcessGroup

logger = logging.getLogger(__name__)

REMEDY = "set exits.teacher_images to 'live', or cut the image into smaller ones"
HEADROOM = 1.5  # "auto" caches only if the disk has this many times the space still needed


def labelled(
    network: NetworkWithExits,
    store: ImageStore,
    cache: Path,
    choice: TeacherImages,
    device: torch.device,
    processes: ProcessGroup,
    bf16: bool,
) -> JoinedStores | None:
    """The complete stores, uint8: for each image the teacher's exits in order, its features, then its final output.

    The first process decides for all what ``auto`` means; None is for the teacher running on every batch. ``network``
    is on ``device``.

    Raises HkdsrError if the disk is too full for ``cached``.
    """
    if choice == "live":
        return None
    stored = open_stores(network, store, cache, choice, bf16) if processes.main else None
    if not processes.agreed(stored is not None):
        logger.warning("%s has no room for the teacher's images: the teacher runs on every batch, on crops", cache)
        return None
    missing = processes.agreed(stored.missing if stored else [])
    if stored is None:
        stored = open_stores(network, store, cache, "cached", bf16, writer=str(processes.rank))
        assert stored is not None
    if missing:
        announce(missing, cache, processes.size)
        mine = missing[processes.rank :: processes.size]
        fill(stored, network, store, [index for index in mine if not stored.has(index)], device, bf16, processes.main)
        processes.wait()
        stored.refresh()
        # What is missing now is on a disk that this process does not share with the others.
        fill(stored, network, store, stored.missing, device, bf16, processes.main)
        processes.wait()  # the first process joins the logs that the others have read
    if processes.main:
        stored.tidy()
    return stored


def open_stores(
    network: NetworkWithExits, store: ImageStore, cache: Path, choice: TeacherImages, bf16: bool, writer: str = ""
) -> JoinedStores | None:
    """The stores to fill; None for ``auto`` if the disk has too little space for the images still to be stored.

    Final images, exits and features have stores of their own, which methods that need fewer of them use too. Images
    already stored need no more space, so a continued run chooses as it did before. ``writer`` names the process among
    those that fill the stores together.

    Raises HkdsrError if the disk is too full for ``cached``.
    """
    taps, features = network.exits.taps, network.features
    form = " bf16" if bf16 else ""
    weights = digest(network.network.state_dict())
    final = f"{weights} final{form}"
    try:
        parts: list[DerivedStore] = []
        if taps:
            both = NetworkWithExits(network.network, network.exits).state_dict()
            parts.append(DerivedStore(cache, store, f"{digest(both)} taps {taps}{form}", len(taps), writer))
        if features:
            key = f"{weights} features {digest(features.state_dict())} {features.taps}{form}"
            parts.append(DerivedStore(cache, store, key, features.planes, writer))
        stored = JoinedStores(*parts, DerivedStore(cache, store, final, 1, writer))
    except OutOfMemoryError:
        raise
    except HkdsrError:
        if choice == "cached":
            raise
        return None
    scarce = shutil.disk_usage(cache).free < HEADROOM * stored.missing_bytes
    return None if choice == "auto" and scarce else stored


def announce(missing: Sequence[int], cache: Path, workers: int) -> None:
    """Say that the teacher runs on the ``missing`` images."""
    together = f", shared by {workers} processes" if workers > 1 else ""
    logger.info(
        "running the teacher once on each of %d training images%s; later runs find the results in %s",
        len(missing),
        together,
        cache,
    )


def fill(
    stored: JoinedStores,
    network: NetworkWithExits,
    store: ImageStore,
    indices: Sequence[int],
    device: torch.device,
    bf16: bool,
    progress: bool,
) -> None:
    """Make and store the teacher's images of these training images; ``progress`` shows a bar on a terminal."""
    with autocast("bf16" if bf16 else "fp32", device):
        hidden = None if progress and indices else True
        for index in tqdm(indices, desc="teacher's images", unit="image", disable=hidden):
            check_launcher()
            stored.put(index, infer(network, store.lr(index), device, store.names[index]))


@torch.inference_mode()
def infer(teacher: NetworkWithExits, lr: np.ndarray, device: torch.device, name: str = "") -> list[np.ndarray]:
    """uint8 LR (h, w, 3) -> uint8 images of every exit and of the features and, last, the final output.

    An image that does not fit into memory runs in tiles: better for a student than the teacher's images of crops, even
    of a teacher that sees the whole image, for which a warning is logged. Raises HkdsrError, naming the image, if tiles
    do not fit either.
    """

    def finish(images: Images) -> Images:
        require_image(images[-1], name_of(teacher.network))
        return [rounded(image) for image in images]

    name = f"the teacher's image of {name or 'a training image'}"
    with needed_for(name, REMEDY):
        images = enlarged(teacher.to(device), to_tensor(lr, device), name, REMEDY, finish, exact=False)
        return [to_uint8(image) for image in images]
