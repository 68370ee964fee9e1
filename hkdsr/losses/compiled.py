"""When the inner loops of losses run compiled, by Numba or Triton, and how samples are shared by the CPU's cores.

Compiled loops work on tiles that stay in registers and the first-level cache, while the same arithmetic as PyTorch
calls writes every intermediate value to memory. Without Numba, or on a GPU without Triton, PyTorch calls give the same
values.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import torch
from torch import Tensor


def kernels(like: Tensor) -> ModuleType | None:
    """``hkdsr.losses.kernels`` for float32 and float64 on the CPU, if Numba is installed; else None."""
    if like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64):
        return None
    return _module()


def gpu_kernels(like: Tensor) -> ModuleType | None:
    """``hkdsr.losses.kernels_gpu`` for float32 and float64 on a CUDA GPU, if Triton is installed; else None."""
    if like.device.type != "cuda" or like.dtype not in (torch.float32, torch.float64):
        return None
    return _gpu_module()


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
