"""When the inner loops of losses run compiled, by Numba or Triton, and how samples are shared by the CPU's cores.

Compiled loops work on tiles that stay in registers and the first-level cache, while the same arithmetic as PyTorch
calls writes every intermediate value to memory. Without Numba, or on a GPU without Triton, PyTorch calls give the same
values.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

import torch
from torch import Tensor

_in_tensors: ContextVar[bool] = ContextVar("in_tensors", default=False)


def kernels(like: Tensor) -> ModuleType | None:
    """``hkdsr.losses.kernels`` for float32 and float64 on the CPU, if Numba is installed; else None."""
    return _module() if _is_for("cpu", like) else None


def gpu_kernels(like: Tensor) -> ModuleType | None:
    """``hkdsr.losses.kernels_gpu`` for float32 and float64 on a CUDA GPU, if Triton is installed; else None."""
    return _gpu_module() if _is_for("cuda", like) else None


@contextmanager
def only_tensors() -> Iterator[None]:
    """Within it the losses run as tensor operations, to compare the two forms; in this thread alone."""
    token = _in_tensors.set(True)
    try:
        yield
    finally:
        _in_tensors.reset(token)


def each(work: Callable[[int], object], count: int) -> None:
    """Call ``work(0)`` ... ``work(count - 1)``, in as many threads as PyTorch uses; the calls must be independent.

    The threads end with the call, because a permanent pool would not work in forked processes.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        for index in range(count):
            work(index)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(count)):
            pass


def _is_for(kind: str, like: Tensor) -> bool:
    of_type = like.device.type == kind and like.dtype in (torch.float32, torch.float64)
    return of_type and not _in_tensors.get()


@functools.cache
def _module() -> ModuleType | None:
    try:
        return importlib.import_module("hkdsr.losses.kernels")
    except ImportError:  # Numba has no release yet for the newest Python
        return None


@functools.cache
def _gpu_module() -> ModuleType | None:
    try:
        return importlib.import_module("hkdsr.losses.kernels_gpu")
    except ImportError:
        return None
