"""Joining the processes that torchrun has started, and ending all of them when one fails.

A process that fails stores its reason where the others can read it, and then closes its connections. The others get an
error from their next collective, find the reason and end without a message of their own.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from hkdsr.errors import HkdsrError
from hkdsr.training.failure import Failure, first_failure, found_failure, write_error_file
from hkdsr.training.process_group import ALONE, ProcessGroup, short_reason

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
COLLECTIVE_TIMEOUT = timedelta(days=7)
"""The other processes wait this long for the first one, which may train exits or fill the cache."""
LEAVE_TIMEOUT = timedelta(seconds=5)
"""Without torchrun, the first process hosts the store and waits this long for the others before it ends."""

_group = ALONE
_launcher: int | None = None


def process_group() -> ProcessGroup:
    """The processes of ``joined``; outside of it, this process alone."""
    return _group


@contextmanager
def joined() -> Iterator[ProcessGroup]:
    """Train together with the processes that torchrun has started beside this one; without torchrun, alone.

    An exception in one process ends all of them: the first process that fails raises it, the others raise SystemExit
    with the exit code of the command line (2 for an ``HkdsrError``). If torchrun starts them again after a mistake of
    the user's, they end at once with the same code.
    """
    global _group, _launcher
    if not set(ENVIRONMENT) <= os.environ.keys() or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    group = ProcessGroup(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    torchrun_hosts = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store, before = _store(group)
    if before and before.lasting:
        write_error_file(first_failure(store, before))  # for the next attempt too
        raise SystemExit(before.code)
    nccl = _connect(group, store)
    _group, _launcher = group, os.getppid()
    failure = None
    try:
        yield group
        group.wait()
    except BaseException as error:
        failure = Failure.of(error, group.rank)
        # A store that has died with torchrun cannot be asked; the first process then reports.
        gone = torchrun_hosts and _launcher_ended()
        first = dataclasses.replace(failure, rank=0) if gone else first_failure(store, failure)
        write_error_file(first)
        if first != failure:
            raise SystemExit(first.code) from None
        # torchrun ends the other processes as soon as one has ended, but this one still has to report the error.
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    finally:
        _group, _launcher = ALONE, None
        # After a failure NCCL may wait for ever for the others; its connections close when the process ends.
        if not (failure and nccl):
            dist.destroy_process_group()
        if not torchrun_hosts:
            _leave(group, store)


def check_launcher() -> None:
    """Raises HkdsrError if torchrun, which has started this process, was killed. Called before each step."""
    if _launcher_ended():
        raise HkdsrError("torchrun was killed during the training: run the same command again to continue")


def local_rank() -> int:
    """The number of this process among those on this machine."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0")))


def check_device(setting: str, device: torch.device, processes: ProcessGroup) -> None:
    """Raises HkdsrError if ``processes`` cannot train together on ``device``, one GPU each."""
    if processes.size == 1 or device.type == "cpu":
        return
    if device.type != "cuda":
        raise HkdsrError(f"training.device is '{setting}', which only one process can use: set it to cuda or cpu")
    if device.index is not None:
        raise HkdsrError(f"training.device is '{setting}', but each process needs its own GPU: set it to auto or cuda")
    if local_rank() >= torch.cuda.device_count():
        raise HkdsrError(
            f"there are fewer GPUs ({torch.cuda.device_count()}) than processes on this machine: "
            "start as many processes as GPUs, or set training.device to cpu"
        )


def _store(group: ProcessGroup) -> tuple[Store, Failure | None]:
    """The store that all processes can read, and why torchrun has started them again, where that is known.

    Raises HkdsrError if some of them do not come.
    """
    # Imported here: a torch built without distributed training still trains with one process.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    # torchrun keeps its store when it starts the processes again; the entries of the earlier attempt must not count.
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    try:
        whole = next(iter(rendezvous("env://")))[0]
        before = found_failure(PrefixStore(f"hkdsr/{attempt - 1}", whole)) if attempt else None
        store = PrefixStore(f"hkdsr/{attempt}", whole)
        store.set(f"joined/{group.rank}", "")
        store.wait([f"joined/{rank}" for rank in range(group.size)])
    except RuntimeError as error:
        raise HkdsrError(
            f"not all of the {group.size} processes have joined this training ({short_reason(error)}): start all of "
            "them with the same MASTER_ADDR and MASTER_PORT"
        ) from error
    return store, before


def _connect(group: ProcessGroup, store: Store) -> bool:
    """Start the process group; returns whether it uses NCCL."""
    here = local_rank()
    if torch.cuda.is_available() and here < torch.cuda.device_count():
        torch.cuda.set_device(here)  # the device "cuda" from now on
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    # On GPUs too, the processes wait for each other and exchange Python objects through the CPU.
    backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
    dist.init_process_group(backend, store=store, rank=group.rank, world_size=group.size, timeout=COLLECTIVE_TIMEOUT)
    return nccl


def _leave(group: ProcessGroup, store: Store) -> None:
    """The first process, which hosts the store, ends last, so that the others can read it."""
    with suppress(RuntimeError):  # the store or another process is gone
        if group.main:
            store.wait([f"left/{rank}" for rank in range(1, group.size)], LEAVE_TIMEOUT)
        else:
            store.set(f"left/{group.rank}", "")


def _launcher_ended() -> bool:
    return _launcher is not None and os.getppid() != _launcher
