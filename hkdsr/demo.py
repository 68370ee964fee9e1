"""The demo: distillation on photographs that come inside two Python packages, with a table and a report at the end.

One small student is trained three times from one teacher: plainly, by HKDSR for as many steps, and plainly again for as
many seconds as HKDSR took. The images for scoring are never trained on. The curves show scores on them, but nothing is
chosen by these scores: the averaged weights after the last step are reported.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sys
from itertools import pairwise
from pathlib import Path

from hkdsr.cli import output
from hkdsr.data.embedded import demo_files
from hkdsr.errors import HkdsrError
from hkdsr.methods import Plain
from hkdsr.report import write_report
from hkdsr.report.run import read_run
from hkdsr.report.run_report import run_report
from hkdsr.report.text import text_table
from hkdsr.settings.recipe import Data, DistillRecipe, ExitSettings, Training
from hkdsr.training.log import read_log
from hkdsr.training.run import distill

TEACHER = "compact_x2"
STUDENT = "compact:features=12,convs=4"
EQUAL_STEPS, EQUAL_SECONDS, OURS = "plain, equal steps", "plain, equal seconds", "HKDSR"

logger = logging.getLogger(__name__)


def demo_recipe(folder: Path, steps: int) -> DistillRecipe:
    """The demo's recipe; everything it writes is below ``folder``."""
    return DistillRecipe(
        teacher=TEACHER,
        scale=2,
        student=STUDENT,
        out=folder / "hkdsr",
        data=Data(train=(folder / "train",), val=folder / "scoring", cache=folder / "cache", patch=32),
        training=Training(
            steps=steps,
            batch=8,
            lr=1e-3,
            milestones=(0.5, 0.75, 0.9),
            ema=0.99,
            log_every=10,
            validate_every=max(steps // 10, 1),
            save_every=max(steps // 4, 1),
        ),
        exits=ExitSettings(stage1_steps=max(steps // 8, 1)),
    )


def demo(folder: Path = Path("runs/demo"), steps: int = 700) -> Path:
    """Run the demo in ``folder``; returns the path of its report. After a kill, the same call continues.

    Raises HkdsrError if scikit-image or scikit-learn is missing or the disk is full.
    """
    _copy_images(folder)
    ours = demo_recipe(folder, steps)
    plain = dataclasses.replace(ours, method=Plain(), out=folder / "plain")
    distill(plain)
    distill(ours)
    longer_steps = equal_time_steps(plain.out, ours.out, steps)
    longer = dataclasses.replace(
        plain, out=folder / "plain-longer", training=dataclasses.replace(plain.training, steps=longer_steps)
    )
    distill(longer)
    against = [read_run(plain.out, EQUAL_STEPS), read_run(longer.out, EQUAL_SECONDS)]
    report = dataclasses.replace(
        run_report(read_run(ours.out, OURS), against),
        title="A small network distilled by HKDSR",
        subtitle=f"{TEACHER} into {STUDENT}, trained on five photographs, scored on three others",
    )
    path = folder / "report.html"
    write_report(report, path)
    for line in text_table(report.rows):
        logger.info(line)
    logger.info("images, curves and this table: %s", path)
    return path


def equal_time_steps(plain: Path, other: Path, steps: int) -> int:
    """How many steps of the run ``plain`` take as many seconds as ``steps`` steps of the run ``other``."""
    return max(round(steps * _seconds_per_step(other) / _seconds_per_step(plain)), 1)


def main() -> None:
    """Entry point of ``make demo``."""
    try:
        output.configure(sys.argv[1:])
        demo()
    except HkdsrError as error:
        output.complain(f"demo: {error}")
        sys.exit(2)


def _copy_images(folder: Path) -> None:
    for part, files in zip(("train", "scoring"), demo_files(), strict=True):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for name, path in files.items():
            shutil.copyfile(path, folder / part / f"{name}{path.suffix}")


def _seconds_per_step(folder: Path) -> float:
    """Of the fastest logged interval, so that other work of the machine does not count."""
    points = [(line["step"], line["seconds"]) for line in read_log(folder) if "losses" in line]
    return min((end[1] - start[1]) / (end[0] - start[0]) for start, end in pairwise([(0, 0.0), *points]))


if __name__ == "__main__":
    main()
