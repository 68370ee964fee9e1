"""A study with budgets runs: the steps of its measurement are kept when it is killed, and both budgets are trained."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import tiny_study

import hkdsr
from hkdsr.errors import HkdsrError
from hkdsr.studies.budgets.measurement import RowMeasurement
from hkdsr.studies.controls import all_tasks
from hkdsr.studies.results import read_result
from hkdsr.studies.study import read_study
from hkdsr.studies.tasks.child_process import PREPARING, lock
from hkdsr.studies.tasks.run_task import run_task

LOGITS = '[[rows]]\nlabel = "logits"\nmethod = {name = "logits"}\n'
MEASURED = {
    "none": RowMeasurement({}, "1 CPU thread", 0, 0, 0, {"auto": 0.25}),
    "logits": RowMeasurement({}, "1 CPU thread", 0, 0, 0.5, {"cached": 0.25, "live": 0.4}),
}


def test_killed_and_continued_it_keeps_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_study.timed(tmp_path, rows=LOGITS)
    study = read_study(path)
    tiny_study.measure(study, MEASURED)
    measurement = tmp_path / "out" / "measurement" / "result.json"
    before = measurement.read_bytes()
    tasks = {task.name: task for task in all_tasks(study)}
    for name in ("bicubic", "teacher", "measurement", "none-1s-3", "logits-1s-3"):
        run_task(study, tasks[name], lock(study, PREPARING))
    with monkeypatch.context() as patch:
        patch.setattr("hkdsr.studies.tasks.forward_passes.ForwardPassCounter.before_step", tiny.KilledAt(6).before_step)
        with pytest.raises(tiny.Killed):
            run_task(study, tasks["none-2s-3"], lock(study, PREPARING))
    assert not (tmp_path / "out" / "none-2s-3" / "result.json").exists()

    assert hkdsr.compare(path) == tmp_path / "out" / "leaderboard.md"
    # Nothing was measured: the file is the one that was there.
    assert measurement.read_bytes() == before
    taken = {}
    for name in ("none-1s-3", "logits-1s-3", "none-2s-3", "logits-2s-3"):
        result = read_result(study, tasks[name])
        assert result is not None
        assert result.cost is not None
        taken[name] = result.cost.steps, result.settings.get("exits.teacher_images")
    # 1 s: 2 steps with the teacher's images on the disk, as with the teacher in every step.
    assert taken == {
        "none-1s-3": (4, None),
        "logits-1s-3": (2, '"live"'),
        "none-2s-3": (8, None),
        "logits-2s-3": (6, '"cached"'),
    }
    content = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert [found["budget"] for found in content["budgets"]] == ["1 s", "2 s"]
    for found in content["budgets"]:
        assert [entry["label"] for entry in found["board"]["entries"]] == ["bicubic", "none", "logits", "teacher"]
        assert found["board"]["unfinished"] == {}
        assert found["off"]  # no machine takes a quarter of a second for these steps


def test_it_is_measured_before_any_run(tmp_path: Path) -> None:
    """A row that cannot be measured ends the study with one sentence."""
    path = tiny_study.timed(tmp_path, rows='[[rows]]\nlabel = "HKDSR"\nmethod = {name = "hkdsr"}\n')
    path.write_text(path.read_text().replace("convs=4", "convs=1"))
    study = read_study(path)
    for task in all_tasks(study)[:2]:
        run_task(study, task, lock(study, PREPARING))
    with pytest.raises(HkdsrError, match="row 'HKDSR': an exit of"):
        hkdsr.compare(path)
    assert not (tmp_path / "out" / "none-1s-3").exists()


def test_two_processes_measure_once(tmp_path: Path) -> None:
    """Both end with all runs finished, and each run was planned from the same file."""
    path = tiny_study.timed(tmp_path, budgets='"0.2 s"')
    command = [sys.executable, "-m", "hkdsr", "compare", str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in "12"]
    logs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs
    assert sum(log.count("measuring the steps of 1 rows") for log in logs) == 1
    assert "## 0.2 s" in (tmp_path / "out" / "leaderboard.md").read_text()
