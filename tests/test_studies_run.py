"""Studies that run: killed, and shared by several processes, they end as an uninterrupted study."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_study
from filelock import FileLock

import hkdsr
from hkdsr.errors import HkdsrError
from hkdsr.studies.controls import all_tasks
from hkdsr.studies.leaderboard.write import write_leaderboard
from hkdsr.studies.results import FILE
from hkdsr.studies.study import Study, Task, read_study, references
from hkdsr.studies.tasks.child_process import PREPARING, lock
from hkdsr.studies.tasks.run_task import run_task
from hkdsr.training.sessions import read_sessions

VID = """
[[rows]]
label = "vid"
method = {name = "vid"}
"""


Start = Callable[[Path, Path], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts ``hkdsr compare`` on a study with its output in a file; kills what still runs after the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(study: Path, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            command = [sys.executable, "-m", "hkdsr", "compare", str(study)]
            processes.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def scores(out: Path) -> dict[str, Any]:
    """All scores, costs that no clock gives, and hashes; by row."""
    content = json.loads((out / "leaderboard.json").read_text())
    assert content["unfinished"] == {}
    kept = ("steps", "student_passes", "teacher_passes", "cached_passes", "exit_passes")
    costs = {
        e["label"]: {name: e["training"]["cost"][name] for name in kept} for e in content["entries"] if e["training"]
    }
    return {"sets": {e["label"]: e["sets"] for e in content["entries"]}, "costs": costs, "facts": content["facts"]}


def do(study: Study, tasks: Iterable[Task]) -> None:
    """Do tasks in this process."""
    for task in tasks:
        run_task(study, task, lock(study, PREPARING))


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)


def test_killed_and_shared_it_ends_as_an_uninterrupted_study(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """SIGKILL in the middle of a training; then two processes at once, which share the rest."""
    whole = read_study(tiny_study.trainable(tmp_path, "whole", 60, VID, "longer_steps = 61"))
    do(whole, references())
    do(whole, all_tasks(whole))
    write_leaderboard(whole, "cut", {})

    cut, folder = tiny_study.trainable(tmp_path, "cut", 60, VID, "longer_steps = 61"), tmp_path / "cut"
    do(read_study(cut), references())
    killed = start(cut, tmp_path / "killed.log")
    wait_for(folder / "vid-3" / "last.pt", killed)
    killed.kill()
    killed.wait()
    # The run's own process ends too, which releases its lock.
    with FileLock(folder / ".locks" / "vid-3.lock", timeout=60):
        assert (folder / "none-3" / FILE).exists()
        assert not (folder / "plain-longer-61-3").exists()
        early = (folder / "leaderboard.md").read_text()  # of what had ended
        assert "| none | none | scratch |" in early
        assert "vid-3" in early
    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    processes = [start(cut, log) for log in logs]
    assert [process.wait(timeout=300) for process in processes] == [0, 0], [log.read_text() for log in logs]
    # No run was done twice, and the killed one was continued.
    first, second = read_sessions(folder / "vid-3")
    assert 0 == first["from_step"] < second["from_step"] < second["to_step"] == 60
    (only,) = read_sessions(folder / "plain-longer-61-3")
    assert (only["from_step"], only["to_step"]) == (0, 61)
    assert scores(folder) == scores(tmp_path / "whole")

    # Nothing is left to do, also for a study of fewer sets.
    cut.write_text(cut.read_text().replace('["SetA", "SetB"]', '["SetB"]'))
    caplog.set_level("INFO", logger="hkdsr")
    assert hkdsr.compare(cut) == folder / "leaderboard.md"
    assert f"leaderboard: {folder / 'leaderboard.md'}" in caplog.messages


def test_other_rows_are_done_where_one_fails(tmp_path: Path) -> None:
    """HKDSR needs exits before the last block, and this student has one block."""
    rows = '[[rows]]\nlabel = "HKDSR"\nmethod = {name = "hkdsr"}'
    path = tiny_study.trainable(tmp_path, steps=2, rows=rows)
    text = path.read_text().replace("convs=4", "convs=1")
    path.write_text(text)
    do(read_study(path), references())
    done = subprocess.run([sys.executable, "-m", "hkdsr", "compare", path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    reason = "an exit of (0.3, 0.7) is at the last of 1 blocks"
    (sentence,) = (line for line in done.stderr.splitlines() if line.startswith("hkdsr compare: "))
    assert sentence.startswith(f"hkdsr compare: the run hkdsr-3 failed: {reason}")
    page = (tmp_path / "out" / "leaderboard.md").read_text()
    assert f"- hkdsr-3: {reason}" in page
    assert "| none | none | scratch |" in page
    assert "| plain, longer | none | scratch |" in page


def test_a_missing_set_stops_the_study_before_any_run(tmp_path: Path) -> None:
    path = tiny_study.trainable(tmp_path, steps=2)
    path.write_text(path.read_text().replace('"SetB"', '"Set99"'))
    with pytest.raises(HkdsrError, match=r"there is no benchmark set .*Set99: name one of SetA, SetB"):
        hkdsr.compare(path)
    assert not (tmp_path / "out" / "none-3").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = tiny_study.trainable(tmp_path)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(HkdsrError, match=r"cannot write .*out.*: choose another 'out'"):
        hkdsr.compare(path)
