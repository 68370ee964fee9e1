"""What trainings write, read while they run: whole, half-written, damaged and missing files."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from hkdsr.errors import HkdsrError
from hkdsr.methods import Logits
from hkdsr.processes import Process
from hkdsr.report import watching as shown
from hkdsr.runs import folder as runs
from hkdsr.runs.readings import parsed, records, sound
from hkdsr.runs.run import Run, recipe_text
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.toml import read_recipe
from hkdsr.training.run import distill

FILES = ("run.json", "log.jsonl", "sessions.jsonl", "job.json", "student.safetensors", "best.safetensors", "last.pt")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has finished and one that was killed, in a folder of runs."""
    folder = tmp_path_factory.mktemp("work")
    recipe = tiny.data(tiny.recipe(folder, Logits(), validate_every=4), val=folder / "images")
    distill(tiny.replaced(recipe, out=folder / "runs" / "done"))
    with pytest.raises(tiny.Killed):
        distill(tiny.replaced(recipe, out=folder / "runs" / "more" / "cut"), tiny.KilledAt(7))
    return folder / "runs"


def write(folder: Path, process: Process | None = None, ended: str | None = None, **more: Any) -> None:
    """A run as its trainer announces it."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"training.steps": "100", "student": '"compact"'}
    said = {"recipe": recipe, "process": process and dataclasses.asdict(process), "ended": ended, "error": "", **more}
    (folder / "run.json").write_text(json.dumps(said))


def log(folder: Path, *steps: int, **more: Any) -> None:
    lines = [{"step": step, "seconds": step / 4, "lr": 1e-4, "losses": {"pixel": 0.5}, **more} for step in steps]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_finished_and_a_killed_run_are_told_apart(root: Path) -> None:
    done, cut = runs.found(root)
    assert (done.name, done.state, done.step, done.steps) == ("done", "finished", 12, 12)
    assert (cut.name, cut.state, cut.step) == ("more/cut", "stopped", 7)
    assert set(done.losses) == {"pixel", "logits"}
    assert done.rate == pytest.approx(5e-4)
    assert done.speed
    assert done.left is None
    lines = [line for line in runs.log_lines(done.folder) if "val_psnr_y" in line]
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert done.score == lines[-1]["val_psnr_y"]


def test_the_recipe_is_one_that_the_command_line_reads(root: Path, tmp_path: Path) -> None:
    done, cut = runs.found(root)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(done.recipe))
    recipe = read_recipe(path, DistillRecipe)
    assert isinstance(recipe.method, Logits)
    assert recipe == tiny.replaced(recipe, out=done.folder, student=tiny.STUDENT)
    assert [name for name, *_ in runs.differences(done, cut)] == ["out"]
    assert runs.differences(done, done) == []


def test_a_run_without_its_announcement_tells_its_recipe_by_its_weights(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    for name in FILES:
        if (root / "done" / name).exists() and name != "run.json":
            (folder / name).write_bytes((root / "done" / name).read_bytes())
    (old,) = runs.found(tmp_path)
    assert (old.state, old.steps) == ("finished", 12)
    assert old.recipe["student"] == json.dumps(tiny.STUDENT)
    (folder / "student.safetensors").write_bytes(b"\xff" * 40)
    assert runs.found(tmp_path)[0].recipe["student"] == json.dumps(tiny.STUDENT)  # of best.safetensors
    (folder / "best.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0[1]")
    assert runs.found(tmp_path)[0].recipe == {}


def test_the_images_of_validations(root: Path) -> None:
    done, _ = runs.found(root)
    names, steps, files = runs.images(done)
    assert names == ["00.png", "01.png"]
    assert steps == [4, 8, 12]
    assert (1, "teacher") in files
    html = shown.pictures(done)
    assert html.count("data:image/png;base64,") == 10
    seen = [what for what in re.findall("alt='(.*?)'", html) if what.startswith("00.png")]
    assert seen == [f"00.png: {what}" for what in ("HR", "teacher", *(f"student, step {at}" for at in (12, 8, 4)))]


def test_images_of_a_validation_that_is_under_way_are_not_shown_yet(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "done", tmp_path / "done")
    (tmp_path / "done" / "validation" / "1_12.png").unlink()
    (run,) = runs.found(tmp_path)
    html = shown.pictures(run)
    assert "student, step 12" not in html
    assert html.count("student, step 8") == 4  # its name and its description, of both images


def test_a_running_process_is_running_until_it_ends(tmp_path: Path) -> None:
    me = Process.of(os.getpid())
    write(tmp_path / "a", me)
    log(tmp_path / "a", 10, 20)
    (run,) = runs.found(tmp_path)
    assert (run.state, run.step, run.steps) == ("running", 20, 100)
    assert run.speed == pytest.approx(4)
    assert run.left == pytest.approx(20)
    write(tmp_path / "a", me, ended="2026-01-01T00:00:00+00:00", error="the disk is full")
    (run,) = runs.found(tmp_path)
    assert (run.state, run.error) == ("stopped", "the disk is full")
    assert "the disk is full" in shown.table([run], tmp_path)
    if me.started is not None:
        write(tmp_path / "a", dataclasses.replace(me, started=me.started + 1))  # another one with this number
        assert runs.found(tmp_path)[0].state == "stopped"


def test_a_process_on_another_machine_runs_as_long_as_it_writes(tmp_path: Path) -> None:
    write(tmp_path / "a", Process("elsewhere", 1, 1))
    assert runs.found(tmp_path)[0].state == "running"
    old = time.time() - 2 * runs.SILENT
    os.utime(tmp_path / "a" / "run.json", (old, old))
    assert runs.found(tmp_path)[0].state == "stopped"


def test_a_lock_is_neither_needed_nor_taken(root: Path) -> None:
    with FileLock(root / "done" / ".lock", timeout=0):
        assert runs.found(root)[0].state == "finished"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    shown.charts(runs.found(root))
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_half_a_line_and_odd_lines_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a")
    log(tmp_path / "a", 10, 20)
    odd = (b"[1]", b"\xff\xfe", b'{"step": "x", "seconds": 1}', b'{"step": NaN, "seconds": 1}', b'{"step": 3')
    huge = b'{"step": 30, "seconds": 7.5, "losses": {"pixel": NaN, "a": 1' + b"0" * 400 + b"}}"
    with (tmp_path / "a" / "log.jsonl").open("ab") as file:
        file.write(b"\n".join([*odd, huge, b'{"step": 40, "sec']))
    (run,) = runs.found(tmp_path)
    assert run.step == 30
    assert run.losses == {}
    assert "Loss term: pixel" in shown.charts([run])


@given(st.dictionaries(st.sampled_from(FILES), st.binary(max_size=60)))
def test_damaged_files_tell_nothing_and_break_nothing(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    folder = tmp_path_factory.mktemp("runs")
    write(folder / "a")
    for name, data in content.items():
        (folder / "a" / name).write_bytes(data)
    (run,) = runs.found(folder)
    assert run.state in ("stopped", "finished")
    assert shown.table([run], folder)
    assert shown.charts([run])
    assert shown.pictures(run) == recipe_text(Run("", folder, "stopped").recipe) == ""


KEYS = ("step", "seconds", "losses", "lr", "recipe", "process", "pid", "host", "val_psnr_y", "names", "to_step")
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(JSON, JSON, JSON, JSON)
def test_files_with_other_content_break_nothing(
    tmp_path_factory: pytest.TempPathFactory, said: Any, line: Any, session: Any, index: Any
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "validation").mkdir()
    for name, content in {"run.json": said, "log.jsonl": line, "sessions.jsonl": session, "job.json": said}.items():
        (folder / name).write_text(json.dumps(content) + "\n")
    (folder / "validation" / "images.json").write_text(json.dumps(index))
    run = runs.read(folder, folder)
    assert shown.table([run], folder)
    shown.charts([run, run])
    shown.pictures(run)


def test_readings() -> None:
    assert parsed("[" * 100_000) is None
    assert records('{"a": 1}\n[2]\n{"b"') == [{"a": 1}]
    assert sound({"step": 1, "seconds": 2, "losses": {"a": float("inf"), "b": 1}, "x": True}) == {
        "step": 1,
        "seconds": 2,
        "losses": {"b": 1},
    }
    assert sound({"step": 1, "seconds": 2, "losses": 3.0}) == {"step": 1, "seconds": 2}
    assert sound({"step": 1}) is None


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "a/../..", "\0", "link", "x" * 5000])
def test_nothing_outside_is_named(name: str, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    write(tmp_path / "x")
    (root / "link").symlink_to(tmp_path / "x")
    with pytest.raises(HkdsrError):
        runs.named(root, name)
    assert runs.found(root) == []


def test_a_pipe_does_not_hold_the_page(tmp_path: Path) -> None:
    write(tmp_path / "a")
    os.mkfifo(tmp_path / "a" / "log.jsonl")
    assert runs.found(tmp_path)[0].step == 0


def test_studies_are_found_once_they_have_begun(tmp_path: Path) -> None:
    (tmp_path / "runs" / "study" / ".locks").mkdir(parents=True)
    (tmp_path / "runs" / "done").mkdir()
    (tmp_path / "runs" / "done" / "leaderboard.md").write_text("# done")
    assert list(runs.studies(tmp_path / "runs")) == ["done", "study"]
    assert runs.studies(tmp_path / "missing") == {}


def test_html_is_escaped(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    write(tmp_path / evil, ended="now", error=evil, recipe={"student": json.dumps(evil), evil: evil})
    log(tmp_path / evil, 1, 2, losses={evil: 0.1, "b": 0.2})
    (run,) = runs.found(tmp_path)
    other = dataclasses.replace(run, recipe={})
    for html in (shown.table([run], tmp_path), shown.charts([run]), shown.compared(run, other)):
        assert "<img src=x" not in html
        assert "&lt;img" in html


def test_durations() -> None:
    found = [shown.duration(seconds) for seconds in (0.2, 59, 61, 3600, 7384, 200_000)]
    assert found == ["0 s", "59 s", "1 min 1 s", "1 h 0 min", "2 h 3 min", "2 d 7 h"]
