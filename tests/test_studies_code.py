"""A study of networks of users' own: its runs are trained and scored, and other code is not taken for theirs."""

from __future__ import annotations

from pathlib import Path

import own
import pytest
import tiny_study
from filelock import FileLock
from small import refusal

from hkdsr.nets.files import named
from hkdsr.studies.controls import all_tasks
from hkdsr.studies.results import read_result
from hkdsr.studies.study import read_study
from hkdsr.studies.tasks.run_task import run_task


def test_a_study_trains_and_scores_own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HKDSR_CACHE", str(tmp_path / "named"))
    student, teacher = own.copied(tmp_path), own.copied(tmp_path, "returns_tuple.py")
    path = tiny_study.trainable(tmp_path, steps=1, extra="longer_steps = 0")
    text = path.read_text().replace("compact:features=4,convs=4", f"{student}:Plain:features=4")
    path.write_text(text.replace(str(tmp_path / "teacher.safetensors"), f"{teacher}:Pair"))
    study = read_study(path)
    for task in all_tasks(study):
        # Each in a process of its own, the last time with its weights alone.
        for _ in range(2):
            monkeypatch.setattr(named, "_named", {})
            run_task(study, task, FileLock(tmp_path / "lock"))
        result = read_result(study, task)
        assert result is not None
        assert set(result.sets) == {"SetA", "SetB"}
    scored = read_result(study, all_tasks(study)[1])
    assert scored is not None
    assert scored.facts["not_sliceable"].endswith("set init to 'scratch', or student to the teacher's family") or (
        "run only as a whole" in scored.facts["not_sliceable"]
    )
    student.write_text(student.read_text() + "\n")
    assert "other settings (student_sha256)" in refusal(lambda: read_result(study, all_tasks(study)[2]))
