"""Which device to compute on, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from hkdsr.errors import HkdsrError
from hkdsr.settings.choices import Precision


def pick_device(name: str, setting: str = "training.device") -> torch.device:
    """The device called ``name``; ``auto`` is the current GPU if there is one, else the CPU.

    Raises HkdsrError, naming the ``setting`` it came from, for a device that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise HkdsrError(f"{setting} is '{name}', which this machine does not have: set it to auto or cpu") from error
    return device


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """bf16 autocast if networks run in bf16 there, else a context without effect; see ``runs_in_bf16``."""
    return torch.autocast(device.type, torch.bfloat16) if runs_in_bf16(precision, device) else nullcontext()


def runs_in_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether networks run in bf16: for ``bf16``, and for ``auto`` where the device computes in it by itself.

    Most CPUs only emulate bf16, which is many times slower than fp32.
    """
    return precision == "bf16" or (precision == "auto" and has_bf16(device))


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies matrices in bf16: newer GPUs, and CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and any(_cpu_has(feature) for feature in ("avx512_bf16", "amx_tile"))


def _cpu_has(feature: str) -> bool:
    # PyTorch has no public function for it; without the private one the answer is no, and networks run in fp32.
    return bool(getattr(torch.cpu, f"_is_{feature}_supported", lambda: False)())
