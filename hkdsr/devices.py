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
    """bf16 autocast where asked for, or where ``auto`` finds a GPU with bf16; most CPUs emulate it, which is slow."""
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" or (precision == "auto" and has_bf16):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
