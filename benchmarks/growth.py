"""How a process grows over images of ever other sizes: ``python -m benchmarks.growth small_x2``, on Linux.

Once with oneDNN's caches as the package limits them, and once as PyTorch has them by itself. The limits in
``hkdsr/__init__.py`` were chosen by these numbers.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hkdsr.deploy.upscale import upscale
from hkdsr.nets.files.load import load

CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
BY_ITSELF = "1024"
FIRST = 50
"""Images before the first measurement: by then everything else has been loaded."""
SIDES = (16, 70)


def main(words: Sequence[str] | None = None) -> None:
    """Print the MB of a process after 50 and after all images, for both settings. ``words`` replace sys.argv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="a checkpoint or a shipped network")
    parser.add_argument("--images", type=int, default=350)
    parser.add_argument("--here", action="store_true", help="measure this process, with the caches as they are")
    arguments = parser.parse_args(words)
    if arguments.here:
        print(*measured(arguments.network, arguments.images))
        return
    command = [
        sys.executable,
        "-m",
        "benchmarks.growth",
        arguments.network,
        "--images",
        str(arguments.images),
        "--here",
    ]
    for label, limits in (("as the package sets them", {}), ("as PyTorch has them", dict.fromkeys(CACHES, BY_ITSELF))):
        environment = {name: value for name, value in os.environ.items() if name not in CACHES} | limits
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        first, last = map(int, done.stdout.split())
        print(f"caches {label}: {first} MB after {FIRST} images, {last} after {arguments.images}, {last - first} more")


def measured(network: str, images: int) -> tuple[int, int]:
    """MB of this process after the first and after all images, each of another size."""
    torch.set_num_threads(1)
    loaded, sizes, taken = load(network), random.Random(0), []
    for index in range(images):
        upscale(loaded, np.zeros((sizes.randrange(*SIDES), sizes.randrange(*SIDES), 3), np.uint8))
        if index + 1 in (FIRST, images):
            taken.append(resident())
    return taken[0], taken[-1]


def resident(process: int | str = "self") -> int:
    """The MB of memory that a process has, by default this one."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    main()
