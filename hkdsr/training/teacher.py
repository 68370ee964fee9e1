"""The frozen teacher of a training: its outputs for a batch, from a store filled once per image, or run on every batch.

The outputs for whole images are computed once and crops are cut from them. A step then needs no pass of the teacher,
and the outputs are better than those for the crop alone, because the teacher sees what surrounds the crop.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from hkdsr.data.crops import Batch
from hkdsr.data.derived import DerivedStore, JoinedStores
from hkdsr.data.store import ImageStore
from hkdsr.data.tensors import rounded, to_tensor, to_uint8
from hkdsr.deploy.piecewise import Images, enlarged
from hkdsr.devices import autocast, runs_in_bf16
from hkdsr.errors import HkdsrError
from hkdsr.memory import OutOfMemoryError, needed_for
from hkdsr.methods.base import ALL_IMAGES, Strides
from hkdsr.methods.inputs import every
from hkdsr.nets.exits import NetworkWithExits, Outputs
from hkdsr.nets.files.load import digest
from hkdsr.nets.sanity import name_of, require_image
from hkdsr.settings.choices import Precision, TeacherImages
from hkdsr.training.distiller import feature_taps, in_full, traced_outputs
from hkdsr.training.distributed import check_launcher
from hkdsr.training.process_group import ProcessGroup

logger = logging.getLogger(__name__)

REMEDY = "set exits.teacher_images to 'live', or cut the image into smaller ones"
HEADROOM = 1.5  # "auto" caches only if the disk has this many times the space still needed


class Teacher:
    """Gives the teacher's outputs for a batch, as constants.

    Args:
        network: the frozen teacher with its exits, on the device of the batches.
        depths: relative depths of the features that the method needs. They are too large to store, so if there are
            any, the teacher runs on every batch.
        stored: the teacher's outputs for all training images, which the sampler adds to each batch; without it the
            teacher runs on the batch. Images are taken from it even if the teacher runs for its features, so that all
            methods learn from the same images.
        strides: of which images of a batch the method needs exits and features.
        is_target: the student learns to give the teacher's image instead of the ground truth.

    Raises HkdsrError for depths in a network that cannot be tapped.
    """

    def __init__(
        self,
        network: NetworkWithExits,
        depths: Sequence[float] = (),
        stored: JoinedStores | None = None,
        is_target: bool = False,
        strides: Strides = ALL_IMAGES,
    ) -> None:
        self.stored, self.is_target = stored, is_target
        self._strides = strides
        self._network = network
        self._taps = feature_taps(network.network, depths)

    @torch.no_grad()
    def outputs(self, batch: Batch) -> Outputs:
        """Final image and exits in [0, 1] and features for ``batch``, whose tensors are on the teacher's device."""
        network, strides = self._network, self._strides
        if self.stored is None:
            found = in_full(traced_outputs(network.network, batch.lr, network.exits, self._taps, strides))
            return Outputs(found.final.clamp(0, 1), tuple(exit_.clamp(0, 1) for exit_ in found.exits), found.features)
        *exits, final = batch.teacher
        images = Outputs(final, tuple(every(strides.exits, exit_) for exit_ in exits))
        if not self._taps:
            return images
        found = in_full(traced_outputs(network.network, every(strides.features, batch.lr), None, self._taps))
        return dataclasses.replace(images, features=found.features)

    @torch.no_grad()
    def target(self, batch: Batch) -> Outputs | None:
        """What a step without the method needs: the final image for ``batch`` where that is the target, else None."""
        if not self.is_target:
            return None
        if self.stored is None:
            return Outputs(self._network.network(batch.lr).float().clamp(0, 1))
        return Outputs(batch.teacher[-1])


def prepared(
    network: NetworkWithExits,
    depths: Sequence[float],
    store: ImageStore,
    cache: Path,
    choice: TeacherImages,
    device: torch.device,
    processes: ProcessGroup,
    is_target: bool = False,
    precision: Precision = "fp32",
    strides: Strides = ALL_IMAGES,
) -> Teacher:
    """The teacher with its outputs stored in ``cache``, or without, depending on ``choice`` and the space on the disk.

    The first process fills the store and decides for all what ``auto`` means. The store's key is a hash of the weights,
    of the training images and of the precision that the teacher runs in; after a kill, filling continues where it
    stopped.

    Raises HkdsrError if the disk is too full for ``cached``.
    """
    # On a CPU, plain convolutions take two thirds of the time in this format.
    network.to(device, memory_format=torch.channels_last)
    bf16 = runs_in_bf16(precision, device)
    with autocast("bf16" if bf16 else "fp32", device):
        stored = _stored(network, store, cache, choice, device, bf16) if processes.main else None
        if processes.agreed(stored is not None) and stored is None:
            stored = _stored(network, store, cache, "cached", device, bf16)
    return Teacher(network, depths, stored, is_target, strides)


@torch.inference_mode()
def infer(teacher: NetworkWithExits, lr: np.ndarray, device: torch.device, name: str = "") -> list[np.ndarray]:
    """uint8 LR (h, w, 3) -> uint8 images of every exit and, last, the final output.

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


def _stored(
    network: NetworkWithExits, store: ImageStore, cache: Path, choice: TeacherImages, device: torch.device, bf16: bool
) -> JoinedStores | None:
    """The complete stores, uint8: for each image the teacher's exits in order, then its final output."""
    if choice == "live":
        return None
    stored = _opened(network, store, cache, choice, bf16)
    if stored is None:
        logger.warning("%s has no room for the teacher's images: the teacher runs on every batch, on crops", cache)
        return None
    missing = stored.missing
    if missing:
        logger.info(
            "running the teacher once on each of %d training images; later runs find the results in %s",
            len(missing),
            cache,
        )
    for index in tqdm(missing, desc="teacher's images", unit="image", disable=None if missing else True):
        check_launcher()
        stored.put(index, infer(network, store.lr(index), device, store.names[index]))
    return stored


def _opened(
    network: NetworkWithExits, store: ImageStore, cache: Path, choice: TeacherImages, bf16: bool
) -> JoinedStores | None:
    """The stores to fill; None for ``auto`` if the disk has too little space for the images still to be stored.

    Final images have a store of their own, which methods with other exits or without exits use too. Images already
    stored need no more space, so a continued run chooses as it did before.
    """
    exits, taps = digest(network.state_dict()), network.exits.taps
    form = " bf16" if bf16 else ""
    final = f"{digest(network.network.state_dict())} final{form}"
    try:
        parts = [DerivedStore(cache, store, f"{exits} taps {taps}{form}", len(taps))] if taps else []
        stored = JoinedStores(*parts, DerivedStore(cache, store, final, 1))
    except OutOfMemoryError:
        raise
    except HkdsrError:
        if choice == "cached":
            raise
        return None
    scarce = shutil.disk_usage(cache).free < HEADROOM * stored.missing_bytes
    return None if choice == "auto" and scarce else stored
