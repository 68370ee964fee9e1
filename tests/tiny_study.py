"""Studies without training, whose results are written here; and tiny studies that do train."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import tiny

from hkdsr.methods import FAKD, Logits
from hkdsr.settings.recipe import Data, Training
from hkdsr.studies.budgets.measurement import RowMeasurement, measured_settings, write_measurement
from hkdsr.studies.controls import NOT_SLICEABLE
from hkdsr.studies.results import Cost, Result, SetResult, settings_of, write_result
from hkdsr.studies.study import BICUBIC, TEACHER, Row, Study, Task, training

ROWS = (Row("none"), Row("logits", Logits()), Row("FAKD", FAKD(), "slice"))
COST = Cost(100, 10.0, 1.0, 0.0, 0.0, 0.0, 300 * 2**20, "1 CPU thread")
FACTS = {"teacher": "9 K parameters", "student": "1 K parameters", "teacher_sha256": "t", NOT_SLICEABLE: ""}


def study(out: Path, **changed: object) -> Study:
    """Three rows, two seeds, two sets, 100 steps."""
    made = Study(
        teacher="teacher.safetensors",
        out=out,
        data=Data(train=(Path("images"),)),
        training=Training(steps=100),
        seeds=(1, 2),
        sets=("SetA", "SetB"),
        rows=ROWS,
    )
    return dataclasses.replace(made, **changed)  # pyright: ignore[reportArgumentType]


def images(*psnr: float) -> SetResult:
    """Scores of as many images."""
    return SetResult("x2: by hand", tuple(f"p{i}" for i in range(len(psnr))), psnr, tuple(0.9 for _ in psnr))


def finish(of: Study, task: Task, psnr: Sequence[float], seconds: float = 10.0, **cost: object) -> None:
    """Write a result with the same scores for every set."""
    trained = task.recipe is not None
    facts = {"teacher_sha256": "t", "data_sha256": "d"} if trained else {} if task.name == BICUBIC else FACTS
    taken = dataclasses.replace(COST, seconds=seconds, **cost) if trained else None  # pyright: ignore
    sets = {name: images(*psnr) for name in of.sets}
    write_result(of, task, Result(settings_of(of, task), sets, facts, taken))


def references(of: Study) -> None:
    """Bicubic at 30 dB and the teacher at 34."""
    finish(of, Task(BICUBIC, BICUBIC), [29.0, 30.0, 31.0])
    finish(of, Task(TEACHER, TEACHER), [33.0, 34.0, 35.0])


def finish_row(of: Study, row: Row, psnr: Sequence[Sequence[float]], seconds: float = 10.0, steps: int = 100) -> None:
    """Write the results of a row, one list of scores a seed."""
    for seed, scores in zip(of.seeds, psnr, strict=False):
        finish(of, training(of, row, seed, steps), scores, seconds, steps=steps)


def finish_all(of: Study) -> None:
    """Plain at 32 dB; logits above it on every image, at 1.5 times the cost; FAKD on one alone, at 2.5 times."""
    references(of)
    finish_row(of, of.rows[0], [[31.0, 32.0, 33.0], [31.2, 32.2, 33.2]])
    finish_row(of, of.rows[1], [[31.5, 32.6, 33.7], [31.7, 32.8, 33.9]], 15.0)
    finish_row(of, of.rows[2], [[30.0, 32.1, 35.0], [30.2, 32.3, 35.2]], 25.0)


def trainable(folder: Path, out: str = "out", steps: int = 12, rows: str = "", extra: str = "") -> Path:
    """The file of a study with tiny images and networks in ``folder``, which are made where they are missing."""
    recipe = tiny.recipe(folder)
    for name, count in (("SetA", 2), ("SetB", 1)):
        if not (folder / "benchmarks" / name).exists():
            tiny.photographs(folder / "benchmarks" / name, count, 40, 44)
    path = folder / f"{out}.toml"
    path.write_text(
        f"""
        teacher = "{recipe.teacher}"
        student = "{tiny.STUDENT}"
        out = "{folder / out}"
        root = "{folder / "benchmarks"}"
        sets = ["SetA", "SetB"]
        seeds = [3]
        target = "hr"
        allow_odd_teacher = true
        {extra}
        [data]
        train = ["{folder / "images"}"]
        patch = 12
        cache = "{folder / "cache"}"
        [training]
        steps = {steps}
        batch = 3
        lr = 1e-3
        ema = 0.9
        log_every = 5
        save_every = 5
        device = "cpu"
        threads = 1
        [exits]
        stage1_steps = 2
        stage1_batch = 3
        allow_weak = true
        [[rows]]
        label = "none"
        {rows}
        """
    )
    return path


def timed(folder: Path, out: str = "out", budgets: str = '"1 s", "2 s"', rows: str = "") -> Path:
    """As ``trainable``, with budgets instead of steps."""
    path = trainable(folder, out, rows=rows, extra=f"budgets = [{budgets}]")
    path.write_text(path.read_text().replace("steps = 12\n", "", 1))
    return path


def measure(of: Study, rows: Mapping[str, RowMeasurement]) -> None:
    """Store measurements of rows of the study, by label, as if they had been made."""
    settings = {row.label: measured_settings(of, row) for row in of.rows}
    write_measurement(of, {label: dataclasses.replace(row, settings=settings[label]) for label, row in rows.items()})
