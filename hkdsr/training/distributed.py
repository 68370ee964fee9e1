"""Training by several processes, one for each GPU or share of the CPU, as torchrun starts them.

Every process draws the same batch and takes its own equal share of it. Losses are means over images, so the mean of
the processes' gradients is that of the whole batch: a recipe gives the same training, up to rounding, whatever the
number of processes. The first one alone trains exits, fills the cache, validates and writes. All need to see the
folders ``out`` and ``data.cache``.

Gradients are averaged here in one collective and not by ``DistributedDataParallel``: that stops with an error at a
parameter without gradient (a head whose weight is 0), or, told to look for such, warns in every run that has none. What
it brings, communication during the backward pass, is worth little for students of a few megabytes.

Exceptions to "the same training": methods that compare the images of a batch with one another see only those of their
share; state that a method keeps in buffers is the first process's, unless the method averages it; random draws repeat
in every process. The last makes draws for the batch as a whole (the windows and positions of FSM) the same as in one
process; draws for single images repeat every share of the batch, which is as unbiased, if less varied.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hkdsr.errors import HkdsrError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Made = TypeVar("Made")

ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(days=7)  # the others wait as long as the first process fills the cache
POLL, FAREWELL = 0.2, 5.0  # seconds
ENDED, LEFT = "hkdsr/ended", "hkdsr/left"


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together: ``size`` of them, this one being number ``rank`` (from 0).

    All of them must call the same functions in the same order; alone, they do nothing.
    """

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))

    def agreed(self, value: Made) -> Made:
        """The first process's ``value``, which must be picklable."""
        box = [value]
        if self.size > 1:
            dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]

    def main_first(self, make: Callable[[], Made]) -> Made:
        """Call ``make`` in the first process, and in the others once they can find what it has left on the disk."""
        if self.main:
            made = make()
            self.wait()
            return made
        self.wait()
        return make()

    @torch.no_grad()
    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace gradients by their means over the processes; one that is missing counts as zero.

        Parameters that have a gradient in no process keep none, so that the optimiser passes them over.
        """
        if self.size == 1:
            return
        here = [p.grad is not None for p in parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        marks = torch.tensor(here, dtype=gradients[0].dtype, device=gradients[0].device)
        flat = torch.cat([*(g.flatten() for g in gradients), marks])
        dist.all_reduce(flat)
        *means, marks = (flat / self.size).split([*(g.numel() for g in gradients), len(marks)])
        # Reading the marks waits for the GPU, so it is done only where they tell something.
        anywhere = here if all(here) else [mark > 0 for mark in marks.tolist()]
        for parameter, gradient, mean, used in zip(parameters, gradients, means, anywhere, strict=True):
            if used:
                parameter.grad = gradient.copy_(mean.view_as(gradient))

    @torch.no_grad()
    def share_state(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors of any kind with the first process's."""
        tensors = list(tensors) if self.size > 1 else []
        if not tensors:
            return
        pieces = [tensor.detach().flatten().view(torch.uint8) for tensor in tensors]
        flat = torch.cat(pieces)
        dist.broadcast(flat, 0)
        for tensor, piece in zip(tensors, flat.split([len(piece) for piece in pieces]), strict=True):
            # Copied once more, since a piece of bytes may begin where no number may.
            tensor.copy_(piece.clone().view(tensor.dtype).view_as(tensor))

    def means(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The means of scalars over the processes."""
        if self.size == 1:
            return terms
        values = torch.stack(list(terms.values()))
        dist.all_reduce(values)
        return dict(zip(terms, values / self.size, strict=True))


ALONE = ProcessGroup()
_group = ALONE


def process_group() -> ProcessGroup:
    """The processes joined by ``joined``; outside of it, this one alone."""
    return _group


@contextmanager
def joined() -> Iterator[ProcessGroup]:
    """Train together with the processes that torchrun started beside this one; without torchrun, alone.

    An exception in one process ends them all: it goes on in the first that raises, and the others end silently with
    the exit code of the command line (2 for an ``HkdsrError``).
    """
    global _group
    if not set(ENVIRONMENT) <= os.environ.keys() or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    # Not everywhere does torch have them; one process does without.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://"))
    here = local_rank()
    if torch.cuda.is_available() and here < torch.cuda.device_count():
        torch.cuda.set_device(here)  # what "cuda" means from now on
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    # Also on GPUs the processes wait for each other, and speak of small things, through the CPU.
    backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
    group = PrefixStore("group", store)
    dist.init_process_group(backend, store=group, rank=rank, world_size=size, timeout=PATIENCE)
    watch = _Watch(store, rank, size)
    _group = ProcessGroup(rank, size)
    try:
        yield _group
        _group.wait()
    except BaseException as error:
        # The group is left as it is: to dissolve it would wait for processes that are gone.
        if watch.tell(_exit_code(error)):
            raise
        raise SystemExit(_exit_code(error)) from None
    finally:
        _group = ALONE
    watch.stop()
    dist.destroy_process_group()


def local_rank() -> int:
    """The number of this process among those on this machine."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0")))


def check_device(setting: str, device: torch.device) -> None:
    """Raises HkdsrError if several processes cannot train on ``device`` together, or not each on a GPU of its own."""
    if _group.size == 1 or device.type == "cpu":
        return
    if device.type != "cuda":
        raise HkdsrError(f"training.device is '{setting}', on which one process trains alone: set it to cuda or cpu")
    if device.index is not None:
        raise HkdsrError(f"training.device is '{setting}', but each process needs its own GPU: set it to auto or cuda")
    if local_rank() >= torch.cuda.device_count():
        raise HkdsrError(
            f"there are fewer GPUs ({torch.cuda.device_count()}) than processes on this machine: "
            "start as many processes as GPUs, or set training.device to cpu"
        )


class _Watch:
    """Learns through the store that another process has ended by an exception, and then ends this one.

    A thread does so, because the main one may stand in a collective that the other will never join.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self._store, self._rank, self._size = store, rank, size
        self._off = threading.Event()
        # With a connection of its own: the other is locked while the main thread waits for an answer.
        self._thread = threading.Thread(target=self._look, args=(store.clone(),), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._off.set()
        self._thread.join()

    def tell(self, code: int) -> bool:
        """End the others with exit ``code`` and wait until they have; False if another process told first."""
        self.stop()
        # torchrun ends all processes as soon as one has failed, but this one has yet to say why.
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        mine = f"{code} {self._rank}"
        with suppress(RuntimeError):  # the store's process is gone, and with it everyone
            if self._store.compare_set(ENDED, "", mine).decode() != mine:
                self._leave(self._store)
                return False
            self._wait_for_others(self._store)
        return True

    def _look(self, store: Store) -> None:
        while not self._off.wait(POLL):
            try:
                if store.check([ENDED]):
                    code = int(store.get(ENDED).decode().split()[0])
                    self._leave(store)
                    os._exit(code)  # sys.exit would end this thread alone
            except RuntimeError:
                # The store is gone: all has ended well, or torchrun was killed and must not leave us behind.
                if not self._off.wait(FAREWELL):
                    os._exit(1)
                return

    def _leave(self, store: Store) -> None:
        store.add(LEFT, 1)
        if self._rank == 0:  # without torchrun the store is in this process, and the others still look into it
            self._wait_for_others(store)
            time.sleep(POLL)

    def _wait_for_others(self, store: Store) -> None:
        end = time.monotonic() + FAREWELL
        while store.add(LEFT, 0) < self._size - 1 and time.monotonic() < end:
            time.sleep(POLL / 10)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 2 if isinstance(error, HkdsrError) else 130 if isinstance(error, KeyboardInterrupt) else 1
