"""The demo: distillation on photographs that come inside two Python packages, with a table and a report at the end.

One small student is trained three times from one teacher, for the same seconds with all preparation: plainly; plainly
from a pruned start; and by HKDSR+ from that start. The seconds of a step and of the preparation are measured first. The
images for scoring are never trained on. The curves show scores on them, but nothing is chosen by these scores: the
averaged weights after the last step are reported.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sys
from pathlib import Path

from hkdsr.cli import output
from hkdsr.data.embedded import demo_files
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSRPlus
from hkdsr.report import write_report
from hkdsr.report.run import read_run
from hkdsr.report.run_report import run_report
from hkdsr.report.text import text_table
from hkdsr.settings.recipe import Data, DistillRecipe, Training
from hkdsr.studies.budgets.measurement import measured
from hkdsr.studies.budgets.plan import budget_runs
from hkdsr.studies.study import Row, Study
from hkdsr.studies.tasks.measure import measure
from hkdsr.training.run import distill

TEACHER = "compact_x2"
STUDENT = "compact:features=12,convs=4"
BUDGET = "45 s"
PLAIN, START, OURS = "plain", "pruned start", "HKDSR+ from it"
SCORINGS = 10
"""Points of each curve."""

logger = logging.getLogger("hkdsr.demo")  # not by __name__, which is __main__ where make runs this


def demo_study(folder: Path, budget: str = BUDGET) -> Study:
    """The demo's three rows and their settings; everything they write is below ``folder``."""
    return Study(
        teacher=TEACHER,
        scale=2,
        student=STUDENT,
        out=folder / "runs",
        data=Data(train=(folder / "train",), val=folder / "scoring", cache=folder / "cache", patch=32),
        training=Training(batch=8, lr=1e-3, milestones=(0.5, 0.75, 0.9), ema=0.99, log_every=10),
        rows=(Row(PLAIN), Row(START, init="prune"), Row(OURS, init="prune", method=HKDSRPlus())),
        seeds=(10,),
        budgets=(budget,),
    )


def demo(folder: Path = Path("runs/demo"), budget: str = BUDGET) -> Path:
    """Run the demo in ``folder``; returns the path of its report. After a kill, the same call continues.

    Raises HkdsrError if scikit-image or scikit-learn is missing, the disk is full, or ``budget`` is too short for the
    preparation.
    """
    _copy_images(folder)
    study = demo_study(folder, budget)
    if not measured(study):
        measure(study)
    tasks = budget_runs(study)
    if len(tasks) < len(study.rows):
        raise HkdsrError(f"the preparation of a row takes longer than {budget}: give the demo more time")
    for task in tasks:
        assert task.recipe is not None
        distill(_with_curve(task.recipe), extend=False)
    *others, ours = [read_run(study.out / task.name, task.label) for task in tasks]
    report = dataclasses.replace(
        run_report(ours, others),
        title=f"A small network after {budget} of training",
        subtitle=f"{TEACHER} into {STUDENT}, preparation counted; trained on five photographs, scored on three others",
    )
    path = folder / "report.html"
    write_report(report, path)
    for line in text_table(report.rows):
        logger.info(line)
    logger.info("images, curves and this table: %s", path)
    return path


def main() -> None:
    """Entry point of ``make demo``."""
    try:
        output.configure(sys.argv[1:])
        demo()
    except HkdsrError as error:
        output.complain(f"demo: {error}")
        sys.exit(2)


def _with_curve(recipe: DistillRecipe) -> DistillRecipe:
    """The recipe with validations and checkpoints that are spread over its steps."""
    every = max(recipe.training.steps // SCORINGS, 1)
    training = dataclasses.replace(recipe.training, validate_every=every, save_every=2 * every)
    return dataclasses.replace(recipe, training=training)


def _copy_images(folder: Path) -> None:
    for part, files in zip(("train", "scoring"), demo_files(), strict=True):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for name, path in files.items():
            shutil.copyfile(path, folder / part / f"{name}{path.suffix}")


if __name__ == "__main__":
    main()
