"""The demo with little time: every row and image is in the report, and nothing is trained on what is scored."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import hkdsr.demo
from hkdsr.demo import OURS, PLAIN, START, TEACHER, demo, demo_study
from hkdsr.errors import HkdsrError
from hkdsr.nets.files.load import load
from hkdsr.scoring import evaluate_set
from hkdsr.studies.budgets.measurement import RowMeasurement, measured_settings, write_measurement
from hkdsr.studies.budgets.plan import budget_runs
from hkdsr.studies.study import Study
from hkdsr.training.log import read_log

LABELS = ("bicubic", PLAIN, START, OURS, "teacher")


def measured_before(study: Study, preparation: float) -> None:
    """A measurement by which a step takes a second, and the start and the teacher's images ``preparation`` each."""
    rows = {}
    for row in study.rows:
        start = preparation if row.init == "prune" else 0.0
        images = preparation if row.method.uses_teacher else 0.0
        settings = measured_settings(study, row)
        rows[row.label] = RowMeasurement(settings, "a machine", start, 0.0, images, {"cached": 1.0})
    write_measurement(study, rows)


def test_the_teacher_is_better_than_bicubic_by_far(shared: Path) -> None:
    network = load(TEACHER)
    teacher, bicubic = (
        evaluate_set(each, shared / "benchmarks" / "Set5", network.scale).psnr_y for each in (network, None)
    )
    assert teacher > bicubic + 3


def test_demo_compares_and_reports(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = demo_study(tmp_path, "20 s")
    measured_before(study, 3.0)
    report = demo(tmp_path, "20 s")
    first_words = {message.split("  ")[0] for message in caplog.messages}
    assert first_words >= set(LABELS)
    page = report.read_text(encoding="utf-8")
    assert all(f'<th scope="row">{label}' in page for label in LABELS)
    assert all(f"<h3>{name}</h3>" in page for name in ("chelsea", "coffee", "flower"))
    # Preparation is counted: the same seconds for fewer steps.
    steps = {task.label: read_log(study.out / task.name)[-1]["step"] for task in budget_runs(study)}
    assert steps == {PLAIN: 20, START: 17, OURS: 14}
    trained_on = {path.stem for path in (tmp_path / "train").iterdir()}
    assert trained_on
    assert not trained_on & {path.stem for path in (tmp_path / "scoring").iterdir()}


def test_too_little_time_is_refused(tmp_path: Path) -> None:
    measured_before(demo_study(tmp_path, "5 s"), 5.0)
    with pytest.raises(HkdsrError, match="takes longer than 5 s"):
        demo(tmp_path, "5 s")


def test_all_is_written_in_the_folder(tmp_path: Path) -> None:
    study = demo_study(tmp_path)
    paths = [study.out, *study.data.train, study.data.val, study.data.cache]
    assert all(path is not None and path.is_relative_to(tmp_path) for path in paths)


def test_its_table_is_shown_where_it_is_run_as_a_program() -> None:
    """Only messages of the package are shown, and a module that is run has another name."""
    assert runpy.run_path(hkdsr.demo.__file__, run_name="__other__")["logger"].name.startswith("hkdsr.")
