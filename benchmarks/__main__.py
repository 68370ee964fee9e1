"""How fast hkdsr is beside what people would run instead, on a CPU: ``python -m benchmarks``, or ``make bench``.

Everything that is compared with one another runs in turn, on photographs; each group of rows has a process of its own.
All of it takes ten minutes on one thread. Rows whose rival is not installed say so; benchmarks/requirements.txt and the
extras onnx, openvino and ncnn have them all.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import rows_images, rows_losses, rows_training, table
from benchmarks.machine import machine
from benchmarks.rounds import Pair, Row, measured

Group = Callable[[Path], AbstractContextManager[list[Pair]]]

GROUPS: dict[str, Group] = {
    "step": rows_training.beside_basicsr,
    "crops": rows_training.crops_beside_basicsr,
    "hkdsr": rows_training.distillation,
    "upscale": rows_images.beside_runtimes,
    "fsm": rows_losses.fsm_beside_definition,
    "affinity": rows_losses.affinity_beside_definition,
    "compiled": rows_losses.compiled_beside_tensors,
    "start": rows_images.start,
    "growth": rows_training.growth,
    "processes": rows_training.processes,
}
TEXT = """# Speed

What hkdsr takes beside what people would run instead, by `make bench`: medians of forms that run in turn in one run. A
ratio is our time as a share of theirs, so less is better. Beside it are the ratio of CPU seconds and the goal, which is
about wall-clock time, for crops about CPU seconds. BasicSR trains the same network, Compact with 32 features and 8
convolutions at x2, on the same photographs, batch 16, LR 48."""


def main(words: Sequence[str] | None = None) -> None:
    """Print the table, and write it as ``speed.md`` and ``speed.json``. ``words`` replace sys.argv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of rows, by default all: {', '.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, help="by default as many as fit into 10 seconds, from 3 to 15")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="a folder")
    arguments = parser.parse_args(words)
    unknown = set(arguments.groups) - GROUPS.keys()
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    torch.set_num_threads(arguments.threads)
    found, names, rows = machine(), arguments.groups or list(GROUPS), list[Row]()
    print(*table.HEAD, sep="\n", flush=True)
    for name in names:
        with TemporaryDirectory() as folder:
            if len(names) == 1:
                new = _measured(name, Path(folder), arguments.rounds)
            else:
                new = _in_a_process(name, Path(folder), arguments.rounds, arguments.threads)
        print(*map(table.line, new), sep="\n", flush=True)
        rows += new
    table.write(arguments.out, "speed", TEXT, found, rows)


def _measured(name: str, folder: Path, rounds: int | None) -> list[Row]:
    with GROUPS[name](folder) as pairs:
        return measured(pairs, rounds)


def _in_a_process(name: str, folder: Path, rounds: int | None, threads: int) -> list[Row]:
    """The rows of a group by a process of its own, where nothing is left of the groups before."""
    words = [name, "--out", str(folder), "--threads", str(threads), *(["--rounds", str(rounds)] if rounds else [])]
    done = subprocess.run([sys.executable, "-m", "benchmarks", *words], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        why = f"its process ended with {done.returncode}"
        return [Row(f"group {name}", "", None, None, None, None, None, None, None, why)]
    return table.read(folder, "speed")


if __name__ == "__main__":
    main()
