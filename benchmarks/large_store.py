"""Memory and speed of stores larger than memory: ``python -m benchmarks.large_store [FOLDER] [GB ...]``.

The stores of decoded images and of the teacher's images are synthetic: sparse files of 1 and 50 GB, which read as zero
and take no space. Each is opened in a process of its own, which compares all bytes with their checksums and then draws
crops from all over it. The table shows how much more memory that process has had at most than before; rates are for a
second of one CPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hkdsr.data import shards
from hkdsr.data.crops import CropSampler
from hkdsr.data.derived import DerivedStore
from hkdsr.data.flat import checksum
from hkdsr.data.shards import Shards
from hkdsr.data.store import ImageStore

SCALE = 2
SIZE = (1356, 2040)
"""HR height and width: those of DIV2K."""
CHILD = "--child"
BATCHES, PATCH, BATCH = 200, 48, 16


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    if words[:1] == [CHILD]:
        measure(Path(words[1]), float(words[2]))
        return
    parent = words[0] if words and not words[0].isdecimal() else None
    print("|   GB | images | files | on disk, MB | check, CPU s | its GB/s | crops/s | memory, MB |")
    print("|-----:|-------:|------:|------------:|-------------:|---------:|--------:|-----------:|")
    for size in words[1 if parent else 0 :] or ["1", "50"]:
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            subprocess.run([sys.executable, "-m", "benchmarks.large_store", CHILD, folder, size], check=True)


def measure(folder: Path, size: float) -> None:
    """Print the row of stores of ``size`` GB."""
    bytes_of_hr = 3 * SIZE[0] * SIZE[1]
    count = round(size * 1e9 / (bytes_of_hr * (2 + 1 / SCALE**2)))
    images = sparse_store(folder, count)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from now on
    before = memory()
    begun = time.process_time()
    store = ImageStore(images)
    assert not store.damaged()
    teacher = DerivedStore(folder, store, "teacher", 1)
    assert not teacher.missing
    checked = time.process_time() - begun
    sampler = CropSampler(store, PATCH, BATCH, 0, teacher)
    begun = time.process_time()
    for step in range(BATCHES):
        sampler.batch(step)
    rate = BATCHES * BATCH / (time.process_time() - begun)
    files = list(folder.rglob("*.u8"))
    held = sum(512 * path.stat().st_blocks for path in files) / 1e6
    total = sum(path.stat().st_size for path in files) / 1e9
    print(
        f"| {total:4.1f} | {count:6} | {len(files):5} | {held:11.1f} | {checked:12.1f} | {total / checked:8.2f} "
        f"| {rate:7.0f} | {memory() - before:10.0f} |",
        flush=True,
    )


def sparse_store(folder: Path, count: int) -> Path:
    """Stores of ``count`` black images, HR, LR and the teacher's, none of whose bytes are on the disk."""
    hr = np.zeros((*SIZE, 3), np.uint8)
    lr = np.zeros((SIZE[0] // SCALE, SIZE[1] // SCALE, 3), np.uint8)
    sums = (checksum(hr), checksum(lr))
    images = folder / "images-synthetic"
    images.mkdir()
    limit = shards.LIMIT
    for stem, one in (("hr", hr), ("lr", lr)):
        Shards(images, stem, [one.size] * count, limit).restore()
    names, sizes = [f"{index}.png" for index in range(count)], [SIZE] * count
    index = {"key": "synthetic", "scale": SCALE, "names": names, "sizes": sizes, "file_limit": limit}
    (images / "index.json").write_text(json.dumps(index))
    (images / "sums.json").write_text(json.dumps([sums] * count))
    usage = shutil.disk_usage(folder)._replace(free=1 << 60)
    shutil.disk_usage = lambda path: usage  # sparse files need no space, whatever their size
    empty = DerivedStore(folder, ImageStore(images), "teacher", 1)
    (empty.folder / "finished.log").write_text("".join(f"\n{index}:{sums[0]}." for index in range(count)))
    return images


def memory() -> float:
    """The most memory that this process has had, in MB."""
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024


if __name__ == "__main__":
    main()
