"""Degraded crops: anew in every step with a live teacher, or once for each image with the teacher's images kept.

``python -m benchmarks.degrade TEACHER IMAGES --student compact:features=24,convs=8`` trains for some steps in both ways
and prints the milliseconds of a step, the seconds of preparation, and after how many steps the second way is cheaper.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hkdsr.methods import Logits
from hkdsr.nets.files.load import load
from hkdsr.settings.degrade import Degrade
from hkdsr.settings.recipe import Data, DistillRecipe, Training
from hkdsr.training.run import distill


def main(words: Sequence[str] | None = None) -> None:
    """Print both costs. ``words`` replace sys.argv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher")
    parser.add_argument("images", type=Path)
    parser.add_argument("--student", default="compact:features=24,convs=8")
    parser.add_argument("--share", type=float, default=1.0, help="share of the images")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=32)
    parser.add_argument("--variants", type=int, default=2)
    parser.add_argument("--lr-only", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        data = Data(
            (arguments.images,),
            lr_only=arguments.lr_only,
            share=arguments.share,
            patch=arguments.patch,
            cache=Path(folder),
        )
        recipe = DistillRecipe(
            arguments.teacher,
            load(arguments.teacher).scale,
            arguments.student,
            data=data,
            training=Training(
                arguments.steps, arguments.batch, threads=arguments.threads, ema=0.9, save_every=arguments.steps
            ),
            method=Logits(pixel_weight=0.0),
            allow_odd_teacher=True,
        )
        clean, whole = timed(recipe, Path(folder, "clean"), Degrade())
        live, _ = timed(recipe, Path(folder, "live"), Degrade("real-esrgan"))
        kept, second = timed(recipe, Path(folder, "kept"), Degrade("real-esrgan", variants=arguments.variants))
        print(f"{1000 * clean:.0f} ms a step after {whole:.1f} s: LR by bicubic, the teacher's images kept")
        print(f"{1000 * live:.0f} ms a step: degraded anew, the teacher live")
        print(f"{1000 * kept:.0f} ms a step after {second:.1f} s: {arguments.variants} variants, all kept")
        if live > kept:
            print(f"keeping them is cheaper from step {second / (live - kept):.0f} on")


def timed(recipe: DistillRecipe, out: Path, degrade: Degrade) -> tuple[float, float]:
    """Train by ``recipe``, degraded as said: the seconds of a step, and those before the first one."""
    begun = time.perf_counter()
    result = distill(dataclasses.replace(recipe, out=out, degrade=degrade))
    return result.seconds / result.steps, time.perf_counter() - begun - result.seconds


if __name__ == "__main__":
    main()
