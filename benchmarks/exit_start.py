"""How a teacher's exit heads should start: as bicubic plus a correction of zero, or with random weights.

``python -m benchmarks.exit_start TEACHER ...`` runs stage 1 for a few steps on the demo's training photographs and
prints the PSNR-Y of every exit on them. The default of ``exits.start`` was chosen by these numbers.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from hkdsr.data.embedded import demo_files
from hkdsr.data.sources import Pair
from hkdsr.data.store import build_store
from hkdsr.nets.files.load import load
from hkdsr.settings.choices import HeadStart
from hkdsr.settings.recipe import ExitSettings, Training
from hkdsr.training.context import opened
from hkdsr.training.stage1 import Stage1Images, score_exits, trained_exits

STARTS: tuple[HeadStart, ...] = ("bicubic", "plain")


def main(words: Sequence[str] | None = None) -> None:
    """Print the PSNR-Y of the exits after stage 1, for every teacher and both starts. ``words`` replace sys.argv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teachers", nargs="+", help="checkpoints or shipped networks")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args(words)
    training = Training(threads=arguments.threads, log_every=max(arguments.steps, 1))
    torch.set_num_threads(arguments.threads)
    pairs = [Pair(name, path) for name, path in demo_files()[0].items()]
    for name in arguments.teachers:
        for start in STARTS:
            with tempfile.TemporaryDirectory() as cache:
                teacher = load(name)
                store = build_store(pairs, teacher.scale, Path(cache), progress=False)
                settings = ExitSettings(start=start, stage1_steps=arguments.steps)
                with opened(Path(cache, "run"), training, {}, "exits") as context:
                    together = trained_exits(teacher, Stage1Images(store, 48), settings, Path(cache), context)
                scores = score_exits(together, store, torch.device("cpu"))
                print(f"{name}, start {start}, {arguments.steps} steps: {scores.sentence()}", flush=True)


if __name__ == "__main__":
    main()
