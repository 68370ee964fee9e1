"""Many visitors of ``hkdsr app``: ``python -m benchmarks.page_load``, on Linux.

From several at once, images of mixed sizes are sent one after the other. No request may fail, and the page's memory may
not grow. Then more requests come at once than may wait, and those beyond are refused.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.growth import resident
from benchmarks.page_visitor import RefusedError, Visitor, downloads, files, page

SIDES = (16, 160)
NETWORKS = ("tiny_x4", "small_x2", "compact_x2")
QUEUE = 4


def main(words: Sequence[str] | None = None) -> None:
    """Print failures, the page's MB after a sixth and after all requests, and how many were refused by a full queue."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--visitors", type=int, default=4)
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder, page(Path(folder), "--queue", str(QUEUE)) as (address, process):
        each, taken = arguments.requests // arguments.visitors, []
        failed = 0
        for count in (each // 6, each - each // 6):
            with ThreadPoolExecutor(arguments.visitors) as pool:
                work = [pool.submit(visit, address, Path(folder), seed, count) for seed in range(arguments.visitors)]
                failed += sum(one.result() for one in work)
            taken.append(resident(process))
        growth = 100 * (taken[1] / taken[0] - 1)
        print(f"{arguments.requests} requests, {failed} failed: {taken[0]} MB, then {taken[1]} MB ({growth:+.1f} %)")
        print("{} at once with room for {}: {} refused, {} answered".format(3 * QUEUE, QUEUE, *rush(address, folder)))


def visit(address: str, folder: Path, seed: int, count: int) -> int:
    """Send images as one visitor who leaves in the end; returns how many came back wrong, or not at all."""
    draw, visitor, wrong = random.Random(seed), Visitor(address), 0
    for number in range(count):
        width, height, network = draw.randrange(*SIDES), draw.randrange(*SIDES), draw.choice(NETWORKS)
        path = folder / f"{seed}_{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (height, width, 3), np.uint8)).save(path)
        try:
            (made,) = downloads(visitor.enlarge(visitor.upload(path), [network]))
            scale = int(network[-1])
            with Image.open(made) as image:
                wrong += image.size != (scale * width, scale * height)
        except RefusedError:
            wrong += 1
    visitor.leave()
    return wrong


def rush(address: str, folder: str) -> tuple[int, int]:
    """How many of three times as many requests as may wait are refused, and how many are answered."""
    path, refused, taken = Path(folder) / "rush.png", 0, []
    Image.new("RGB", (300, 300)).save(path)
    visitors = [Visitor(address) for _ in range(3 * QUEUE)]
    uploads = visitors[0].upload(path)
    for visitor in visitors:
        visitor.ask("begin", files(uploads))
    for visitor in visitors:
        try:
            visitor.join("work", files(uploads), ["small_x2"], [])
            taken.append(visitor)
        except RefusedError:
            refused += 1
    return refused, sum(len(visitor.result()) == 6 for visitor in taken)


if __name__ == "__main__":
    main()
