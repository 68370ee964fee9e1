"""The memory that large images take: ``python -m benchmarks.stream 100 1000 --network tiny_x4``, on Linux.

For each number of megapixels of the result, an image of photographs side by side is made, and ``hkdsr upscale`` run on
it in a process of its own, whose largest memory is printed. Up to ``--compare`` megapixels, the same is done without
strips, and the files must be the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hkdsr.data import ImageData, rgb
from hkdsr.data.embedded import demo_files
from hkdsr.data.write import lines_written
from hkdsr.nets.files.load import load

MB, MEGAPIXEL = 1 << 20, 10**6
NEVER = "1e9"


def main(words: Sequence[str] | None = None) -> None:
    """Print memory, time and size for each number of megapixels. ``words`` replace sys.argv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("megapixels", nargs="+", type=float, help="of the results")
    parser.add_argument("--network", default="tiny_x4", help="a checkpoint or a shipped network")
    parser.add_argument("--suffix", default="png", help="of the results: png or tif")
    parser.add_argument("--source", default="png", help="the suffix of the images: png or tif")
    parser.add_argument("--compare", type=float, default=100, help="the most megapixels to make as a whole too")
    parser.add_argument("--runtime", default="torch", help="torch, onnx or openvino")
    parser.add_argument("--folder", help="where the files go, of several gigabytes; by default the temporary folder")
    arguments = parser.parse_args(words)
    scale = load(arguments.network).scale
    for megapixels in arguments.megapixels:
        with TemporaryDirectory(dir=arguments.folder) as folder:
            source, target = Path(folder, f"a.{arguments.source}"), Path(folder, f"b.{arguments.suffix}")
            width, height = write_photographs(source, megapixels * MEGAPIXEL / scale**2)
            print(f"{width}x{height} by {arguments.network} to {scale * width}x{scale * height}, {target.suffix}:")
            how = ("-m", arguments.network, "--runtime", arguments.runtime)
            by_strips = measured(source, target, "0", *how)
            if megapixels <= arguments.compare:
                whole = measured(source, target, NEVER, *how)
                print("  same bytes" if by_strips == whole else "  OTHER BYTES")


def write_photographs(path: Path, pixels: float) -> tuple[int, int]:
    """An image of about so many pixels, in format 4:3, whose size (width, height) is returned."""
    photograph = rgb(next(iter(demo_files()[1].values())))
    width, height = round((pixels * 4 / 3) ** 0.5), round((pixels * 3 / 4) ** 0.5)
    row = np.concatenate([photograph] * -(-width // photograph.shape[1]), axis=1)[:, :width]
    result = ImageData(np.broadcast_to(np.zeros((), np.uint8), (height, width, 3)))
    with lines_written(path, result) as begin:
        writer = begin()
        for top in range(0, height, len(row)):
            writer.write(row[: height - top])
    return width, height


def measured(source: Path, target: Path, stream_from: str, *how: str) -> str:
    """Print what ``hkdsr upscale`` takes; gives the hash of the file."""
    command = [sys.executable, "-m", "hkdsr", "upscale", source, "-o", target, *how]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--stream-from", stream_from, "--quiet"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # else it would be waited for once more
    assert process.returncode == 0, f"hkdsr upscale ended with {process.returncode}"
    seconds, size = time.perf_counter() - began, target.stat().st_size / MB
    name = "whole " if stream_from == NEVER else "strips"
    print(f"  {name} {largest(usage):6.0f} MB of memory, {seconds:6.1f} s, a file of {size:.0f} MB", flush=True)
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def largest(usage: resource.struct_rusage) -> float:
    """The most memory of a process, in MB."""
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
