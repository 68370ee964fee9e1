"""What a measurement was made on: the machine, the versions, and what else was running."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from hkdsr import __version__
from hkdsr.devices import has_bf16

PACKAGES = ("torch", "numpy", "numba", "triton", "openvino", "ncnn", "onnxruntime", "basicsr")


def machine() -> dict[str, str]:
    """Name and value of everything that the numbers depend on, as text."""
    packages = map(_version, PACKAGES)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    load = os.getloadavg()[0]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "CPU": f"{_cpu()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s) used",
        "bf16 on the CPU": "yes" if has_bf16(torch.device("cpu")) else "no",
        "GPU": device,
        "other work": f"{load:.1f} processes ran or waited for a core just before; this one has nice {os.nice(0)}",
        "versions": ", ".join([f"hkdsr {__version__}", f"Python {platform.python_version()}", *packages]),
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} none"
