"""How fast hkdsr is beside what people would run instead, on a CPU: ``python -m benchmarks``, or ``make bench``.

Everything that is compared runs in turn in one process, on photographs, and takes ten minutes on one thread. Rows whose
rival is not installed say so; benchmarks/requirements.txt and the extras onnx, openvino and ncnn have them all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
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
    found = machine()
    rows = []
    print(*table.HEAD, sep="\n")
    for row in measured_rows([GROUPS[name] for name in arguments.groups or GROUPS], arguments.rounds):
        print(table.line(row), flush=True)
        rows.append(row)
    table.write(arguments.out, "speed", TEXT, found, rows)


def measured_rows(groups: Sequence[Group], rounds: int | None) -> Iterator[Row]:
    """The rows of ``groups``, one group after the other."""
    for group in groups:
        with TemporaryDirectory() as folder, group(Path(folder)) as pairs:
            yield from measured(pairs, rounds)


if __name__ == "__main__":
    main()
