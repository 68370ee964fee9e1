"""What belongs to a training: its folder, its settings, the checkpoint it continues from, and its processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from hkdsr.devices import pick_device
from hkdsr.files import claimed
from hkdsr.settings.recipe import Training
from hkdsr.training.checkpoint import FILE, Checkpoint, read_checkpoint, write_checkpoint
from hkdsr.training.distributed import ALONE, ProcessGroup, check_device


@dataclass(frozen=True)
class Context:
    """Everything about a training but the module, the batches and the teacher.

    ``fingerprint`` holds what must be equal when the training is continued, by name. ``found`` is the checkpoint that
    the folder had when it was claimed; None for a fresh start.
    """

    folder: Path
    settings: Training
    fingerprint: Mapping[str, str]
    label: str
    device: torch.device
    processes: ProcessGroup = ALONE
    found: Checkpoint | None = None

    @property
    def step(self) -> int:
        """The steps done so far."""
        return self.found.step if self.found else 0

    @property
    def seconds(self) -> float:
        """The seconds of training so far."""
        return self.found.seconds if self.found else 0.0

    def save(self, checkpoint: Checkpoint) -> None:
        """Write ``last.pt``. Raises HkdsrError if the disk is full."""
        write_checkpoint(self.folder / FILE, checkpoint)


@contextmanager
def opened(
    folder: Path,
    settings: Training,
    fingerprint: Mapping[str, str],
    label: str,
    processes: ProcessGroup = ALONE,
    *,
    wait: bool = False,
) -> Iterator[Context]:
    """Claim ``folder`` for this training and read its checkpoint; the folder is free again afterwards.

    Where another process trains there, ``wait`` until it has ended. Raises HkdsrError where that is not asked for, if
    the training there was started with other settings or its checkpoint is damaged, and for a device that is missing
    or does not suit the processes.
    """
    device = pick_device(settings.device)
    check_device(settings.device, device)
    with claimed(folder, wait=wait) if processes.main else nullcontext():
        processes.wait()
        found = read_checkpoint(folder / FILE, dict(fingerprint))
        yield Context(folder, settings, fingerprint, label, device, processes, found)
