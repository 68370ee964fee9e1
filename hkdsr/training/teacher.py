"""The frozen teacher of a training: its outputs for a batch, from a store filled once per image, or run on every batch.

The outputs for whole images are computed once and crops are cut from them. A step then needs no pass of the teacher,
and the outputs are better than those for the crop alone, because the teacher sees what surrounds the crop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from hkdsr.data.crops import Batch
from hkdsr.data.derived import JoinedStores
from hkdsr.data.store import ImageStore
from hkdsr.devices import runs_in_bf16
from hkdsr.methods.base import ALL_IMAGES, Strides
from hkdsr.methods.inputs import every
from hkdsr.nets.exits import NetworkWithExits, Outputs
from hkdsr.settings.choices import Compile, Precision, TeacherImages
from hkdsr.training.compiling import compiled
from hkdsr.training.distiller import base_of_exits, feature_taps, in_full, traced_outputs
from hkdsr.training.labelling import labelled
from hkdsr.training.process_group import ProcessGroup


class Teacher:
    """Gives the teacher's outputs for a batch, as constants.

    Args:
        network: the frozen teacher with its exits, on the device of the batches.
        depths: relative depths of the features that the method needs. As a whole they are too large to store, so if
            there are any, and the network makes no images of them, the teacher runs on every batch.
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
        self._run = traced_outputs

    def compile_networks(self, choice: Compile, device: torch.device) -> None:
        """Compile the teacher, where it runs in the steps of a training, as ``training.compile`` says."""
        if self._network.network.runs_in_pytorch:
            self._run = compiled(traced_outputs, choice, device)

    # Not in inference mode: losses keep these tensors for the gradient, which inference tensors do not allow.
    @torch.no_grad()
    def outputs(self, batch: Batch) -> Outputs:
        """Final image and exits in [0, 1] and features for ``batch``, whose tensors are on the teacher's device."""
        network, strides = self._network, self._strides
        if self.stored is None:
            base = base_of_exits(network.network, batch.lr, network.exits, strides)
            found = in_full(self._run(network.network, batch.lr, network.exits, self._taps, strides, base))
            return Outputs(found.final.clamp(0, 1), tuple(exit_.clamp(0, 1) for exit_ in found.exits), found.features)
        *others, final = batch.teacher
        count = len(network.exits.taps)
        images = Outputs(final, tuple(every(strides.exits, exit_) for exit_ in others[:count]))
        if network.features:
            kept = [every(strides.features, image) for image in others[count:]]
            return dataclasses.replace(images, features=network.features.features(kept))
        if not self._taps:
            return images
        found = in_full(self._run(network.network, every(strides.features, batch.lr), None, self._taps))
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

    The processes fill the store together; the first one decides for all what ``auto`` means. The store's key is a hash
    of the weights, of the training images and of the precision that the teacher runs in; after a kill, filling
    continues where it stopped.

    Raises HkdsrError if the disk is too full for ``cached``.
    """
    place(network, device)
    bf16 = runs_in_bf16(precision, device)
    stored = labelled(network, store, cache, choice, device, processes, bf16)
    return Teacher(network, depths, stored, is_target, strides)


def place(network: NetworkWithExits, device: torch.device) -> None:
    """Move the teacher to where it makes images, in the memory layout for that."""
    # On a CPU, plain convolutions take two thirds of the time in this format.
    network.to(device).to(memory_format=torch.channels_last)
