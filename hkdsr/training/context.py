"""What belongs to a training: its folder, its settings, the checkpoint it continues from, and its processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hkdsr.devices import pick_device
from hkdsr.errors import HkdsrError
from hkdsr.files import claimed
from hkdsr.paths import require_writable
from hkdsr.settings.recipe import Training
from hkdsr.training.checkpoint import FILE, Checkpoint, read_checkpoint, write_checkpoint
from hkdsr.training.distributed import check_device
from hkdsr.training.process_group import ALONE, ProcessGroup
from hkdsr.training.schedule import SETTINGS


@dataclass(frozen=True)
class Context:
    """Everything about a training but the module, the batches and the teacher.

    ``fingerprint`` holds by name what must be equal when the training is continued, apart from the settings of the
    schedule. ``found`` is the checkpoint that the folder had when it was opened; None for a fresh start.
    ``metadata`` is kept with the checkpoints.
    """

    folder: Path
    settings: Training
    fingerprint: Mapping[str, str]
    label: str
    device: torch.device
    processes: ProcessGroup = ALONE
    found: Checkpoint | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

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
    extend: bool = False,
) -> Iterator[Context]:
    """Reserve ``folder`` for this training and read its checkpoint; the folder is free again afterwards.

    If another process trains there, ``wait`` until it has ended. With ``extend`` the training may be continued with
    other steps and milestones than it was begun with.

    Raises HkdsrError if another process trains there and ``wait`` is false, if the folder cannot be written, if the
    training there was begun with other settings, has done more steps or has a damaged checkpoint, and for a device
    that is missing or does not suit the processes.
    """
    device = pick_device(settings.device)
    check_device(settings.device, device, processes)
    require_writable(folder, folder=True)
    with claimed(folder, wait=wait) if processes.main else nullcontext():
        processes.wait()
        found = read_checkpoint(folder / FILE, fingerprint, SETTINGS if extend else ())
        if found and found.step > settings.steps:
            raise HkdsrError(
                f"{folder} has done {found.step} steps already, but training.steps is {settings.steps}: raise it, or "
                "change 'out'"
            )
        yield Context(folder, settings, fingerprint, label, device, processes, found)
