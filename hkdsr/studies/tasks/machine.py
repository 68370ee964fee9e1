"""The peak memory of a training, and the name of the device that it runs on."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import torch

from hkdsr.devices import runs_in_bf16
from hkdsr.settings.choices import Precision

STATUS, CLEAR, CPU_INFO = (Path("/proc") / name for name in ("self/status", "self/clear_refs", "cpuinfo"))
PEAK_LINE = "VmHWM:"


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far. Where the system cannot, ``peak_memory`` is that of the whole life of the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            CLEAR.write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """The most bytes in use since the reset: on a GPU those that torch used, else those of this process.

    None on Windows, which has no such number without further packages.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    for line in _lines(STATUS):
        if line.startswith(PEAK_LINE):
            return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def device_name(device: torch.device, precision: Precision = "fp32") -> str:
    """The model of the GPU, or that of the CPU with the number of threads; and bf16 if networks run in it."""
    return f"{_model(device)}, bf16" if runs_in_bf16(precision, device) else _model(device)


def _model(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    name = f"{threads} CPU thread{'s' if threads > 1 else ''}" if device.type == "cpu" else str(device)
    models = (line.partition(":")[2].strip() for line in _lines(CPU_INFO) if line.startswith("model name"))
    return " of ".join(filter(None, (name, next(models, ""))))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
