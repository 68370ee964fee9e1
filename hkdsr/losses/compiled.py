"""When the losses' inner loops run compiled by Numba, and how samples share the CPU's cores.

The compiled loops keep a tile of the work in registers and the first cache, where the same arithmetic in tensor calls
writes every intermediate to memory. Without Numba, or on a GPU, the tensor forms give the same values.
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
    """``hkdsr.losses.kernels`` if it serves tensors like this one: float32 or float64 on the CPU, Numba at hand."""
    if like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64):
        return None
    return _module()


def each(work: Callable[[int], object], count: int) -> None:
    """Call ``work(0)`` ... ``work(count - 1)``, as many at once as torch uses threads; they must not depend on another.

    The threads live for one call: a pool kept for longer would be dead in forked processes.
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
    except ImportError:  # Numba has no release yet for the newest Pythons
        return None
