"""Compare two checkouts: the losses of 20 steps and the weights after them, bit for bit, for every method.

``python -m tools.same_losses BEFORE AFTER`` takes two folders that hold a package ``hkdsr`` (``git worktree add`` makes
one of an older commit). Both run through their command line, which stays while modules move; on a CPU, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

STEPS = 20
TEACHER, STUDENT = "compact_x2", "compact:features=16,convs=8"
METHODS = (
    "none",
    "logits",
    "fitnet",
    "at",
    "sp",
    "rkd",
    "vid",
    "fakd",
    "srkd",
    "csd",
    "dckd",
    "dukd",
    "augkd",
    "mipkd",
    "mtkd",
    "adversarial",
    "hkdsr",
    "hkdsr+",
    "hkdsr,logits",
)
EXTRA = {"mtkd": ["--method.teachers", "small_x2"], "fakd": ["--init", "slice"]}
# Runs every command in one process: importing PyTorch takes longer than 20 steps.
RUNNER = """
import json, sys
from hkdsr.__main__ import main
for arguments in json.loads(sys.stdin.read()):
    sys.argv = ["hkdsr", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"hkdsr {' '.join(arguments)} ended with exit code {end.code}")
"""


def main() -> None:
    """Print a line for each method; exit code 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        images = write_images(Path(folder, "images"))
        both = [Path(folder, name) for name in ("before", "after")]
        for checkout, out in zip((arguments.before, arguments.after), both, strict=True):
            train(checkout.resolve(), images, out, arguments.methods)
        faults = {name: difference(*(out / name for out in both)) for name in arguments.methods}
    for name, fault in faults.items():
        print(f"{name:<14} {fault or 'equal'}")
    sys.exit(any(faults.values()))


def write_images(folder: Path) -> Path:
    """Two images with edges and texture, always the same."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(2):
        coarse = Image.fromarray(random.integers(256, size=(14, 18, 3), dtype=np.uint8))
        fine = Image.fromarray(random.integers(256, size=(112, 144, 3), dtype=np.uint8))
        Image.blend(coarse.resize(fine.size, Image.Resampling.BICUBIC), fine, 0.2).save(folder / f"{index}.png")
    return folder


def train(checkout: Path, images: Path, out: Path, methods: list[str]) -> None:
    """Train every method by the package in ``checkout``, into a folder of its name in ``out``."""
    common = ["--teacher", TEACHER, "--student", STUDENT, "--data.train", str(images), "--data.patch", "16"]
    common += ["--data.cache", str(out / "cache"), "--training.steps", str(STEPS), "--training.batch", "4"]
    common += [
        "--training.log-every",
        "1",
        "--training.lr",
        "0.001",
        "--training.ema",
        "0.9",
        "--training.threads",
        "1",
    ]
    common += [
        "--training.device",
        "cpu",
        "--training.precision",
        "fp32",
        "--exits.stage1-steps",
        "10",
        "--exits.allow-weak",
    ]
    commands = [
        ["distill", "--method.name", name, *common, "--out", str(out / name), *EXTRA.get(name, [])] for name in methods
    ]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(commands),
        env=environment,
        cwd=checkout,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        sys.exit(f"{checkout}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def difference(before: Path, after: Path) -> str:
    """What differs first between two runs; empty if nothing does."""
    logs = [(folder / "log.jsonl").read_text("utf-8").splitlines() for folder in (before, after)]
    losses = [[(line["step"], line["losses"]) for line in map(json.loads, log) if "losses" in line] for log in logs]
    if len(losses[0]) != STEPS or len(losses[1]) != STEPS:
        return f"logged {len(losses[0])} and {len(losses[1])} steps in place of {STEPS}"
    for first, second in zip(*losses, strict=True):
        if first != second:
            return f"step {first[0]}: {first[1]} before, {second[1]} after"
    weights = [load_file(folder / "student.safetensors") for folder in (before, after)]
    if weights[0].keys() != weights[1].keys():
        return "other names of weights"
    unlike = [name for name, value in weights[0].items() if not np.array_equal(value, weights[1][name])]
    return f"weights differ: {', '.join(unlike)}" if unlike else ""


if __name__ == "__main__":
    main()
