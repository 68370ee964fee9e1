"""Distillations started by the page: refused, started as processes of their own, stopped, resumed, found again."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_job

from hkdsr.cli.recipes import parse_recipe
from hkdsr.errors import HkdsrError
from hkdsr.processes import Process
from hkdsr.runs import folder as runs
from hkdsr.runs.asked import Asked
from hkdsr.runs.choices import image_folders, recipes
from hkdsr.runs.jobs import JOB, LOG, Jobs
from hkdsr.settings.recipe import DistillRecipe

STEPS = 300
WAIT = 120
PAGE = """
import sys
from pathlib import Path
from typing import Any
from hkdsr.runs.asked import Asked
from hkdsr.runs.jobs import Jobs
folder = Path(sys.argv[1])
jobs = Jobs(folder / "runs", [folder])
jobs.start(Asked("mine", recipe=str(folder / "tiny.toml")))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images, a teacher and a recipe of 300 steps that are logged one by one."""
    tiny_job.written(tmp_path, "tiny.toml", "", f"steps = {STEPS}\nlog_every = 1\nsave_every = 1000")
    return tmp_path


def of(folder: Path) -> Jobs:
    return Jobs(folder / "runs", [folder, folder / "images"])


def asked(folder: Path, name: str = "mine", **more: object) -> Asked:
    return dataclasses.replace(Asked(name, recipe=str(folder / "tiny.toml")), **more)  # pyright: ignore


def wait_for(due: Callable[[], bool], jobs: Jobs, name: str = "mine") -> None:
    end = time.monotonic() + WAIT
    while not due():
        assert time.monotonic() < end, jobs.log(name)
        time.sleep(0.02)


def run_of(folder: Path, name: str = "mine") -> runs.Run:
    return runs.named(folder / "runs", name)


def refused(folder: Path, **more: Any) -> str:
    with pytest.raises(HkdsrError) as caught:
        of(folder).start(asked(folder, **more))
    assert not (folder / "runs").exists()
    return str(caught.value)


def test_stopped_and_resumed_it_ends_as_one_that_was_never_stopped(folder: Path) -> None:
    jobs = of(folder)
    # The page that starts it ends at once, as if it were closed.
    subprocess.run([sys.executable, "-c", PAGE, str(folder)], check=True, timeout=WAIT)
    wait_for(lambda: run_of(folder).step >= 5, jobs)
    assert run_of(folder).state == "running"
    with pytest.raises(HkdsrError, match="mine is being trained: stop it first"):
        jobs.start(asked(folder))
    pid = json.loads((folder / "runs" / "mine" / JOB).read_text())["process"]["pid"]
    assert os.getsid(pid) == pid  # no terminal ends it
    jobs.stop("mine")
    wait_for(lambda: run_of(folder).state == "stopped", jobs)
    reached = run_of(folder).step
    assert reached < STEPS
    assert tiny.state(folder / "runs" / "mine")["step"] == reached  # no step is lost
    assert "run the same command again to continue" in jobs.log("mine")
    with pytest.raises(HkdsrError, match="no distillation of this page runs in mine"):
        jobs.stop("mine")

    of(folder).resume("mine")  # by a page that is started later
    assert run_of(folder).state == "running"
    wait_for(lambda: run_of(folder).state == "finished", jobs)
    # The command that is shown, typed in a terminal.
    command = shlex.split(jobs.command(asked(folder, "whole")))
    subprocess.run([sys.executable, "-m", *command], check=True, timeout=WAIT)
    whole, cut = (tiny.state(folder / "runs" / name) for name in ("whole", "mine"))
    for part in ("step", "fingerprint", "model", "average", "optimiser"):
        assert tiny.equal(whole[part], cut[part]), part
    assert jobs.names() == ["mine"]
    with pytest.raises(HkdsrError, match="whole was not started from this page"):
        jobs.resume("whole")


def test_the_check_is_that_of_the_command_line(folder: Path) -> None:
    jobs = of(folder)
    found = jobs.check(asked(folder))
    assert "training images: 3 images, LR made by bicubic" in found
    assert found.endswith("No mistake was found. Nothing was trained.")
    assert not (folder / "runs").exists()
    with pytest.raises(HkdsrError) as caught:
        jobs.check(asked(folder, scale=3))
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(jobs.command(asked(folder, scale=3))), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"hkdsr distill: {caught.value}"
    assert "x2 network: set scale to 2" in str(caught.value)


def test_a_mistake_that_shows_at_the_start_is_in_its_output(folder: Path) -> None:
    jobs = of(folder)
    jobs.start(asked(folder, scale=3))
    wait_for(lambda: run_of(folder).state == "stopped", jobs)
    assert "x2 network: set scale to 2" in jobs.log("mine")


def test_the_command_says_all_that_was_chosen(folder: Path) -> None:
    images = folder / "my 'best' images"
    tiny.photographs(images)
    chosen = Asked("a/b-1", "", "teacher.pth", "--help", (str(images),), str(images), 4, "fakd", 70)
    words = shlex.split(of(folder).command(chosen))
    assert words[:2] == ["hkdsr", "distill"]
    recipe = parse_recipe(DistillRecipe, "distill", words[2:])
    assert (recipe.teacher, recipe.student, recipe.scale) == ("teacher.pth", "--help", 4)
    assert recipe.data.train == (images,)
    assert (recipe.data.val, recipe.training.steps) == (images, 70)
    assert recipe.out == folder / "runs" / "a" / "b-1"
    assert type(recipe.method).__name__ == "FAKD"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/tmp/x", "a/../../x", "a//b", "-x", "a\n", "a\0", "~", "x" * 101, "a;b", ".hidden"]
)
def test_other_folders_than_those_of_runs_are_refused(name: str, folder: Path) -> None:
    assert "the name of the run is" in refused(folder, name=name)
    for does in (of(folder).stop, of(folder).resume, of(folder).log):
        with pytest.raises(HkdsrError):
            does(name)


def test_a_link_out_of_the_folder_of_runs_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "runs").mkdir()
    (folder / "runs" / "out").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(HkdsrError, match="out is not in"):
        of(folder).start(asked(folder, "out"))


@pytest.mark.parametrize("field", ["recipe", "teacher", "student", "val"])
def test_files_outside_of_the_folders_are_refused(field: str, folder: Path) -> None:
    for path in ("/etc/passwd", "/nowhere/at/all", "../../../../../../etc/passwd", f"{folder}/../x", "~/x", "~nobody"):
        assert "outside of the folders" in refused(folder, **{field: path}) or "home folder" in refused(
            folder, **{field: path}
        )
    assert "outside" in refused(folder, images=(str(folder / "images"), "/etc"))


@pytest.mark.parametrize(
    "line",
    [
        'data = {train = ["/etc"]}',
        'data = {train = ["images"], cache = "cache"}',  # relative to where the page was started
        'data = {val = "/etc"}',
        'teacher = "/etc/passwd"',
        'init_from = "/etc/passwd"\ninit = "student"',
        'method = {name = "mtkd", teachers = ["/etc/passwd"]}',
    ],
)
def test_a_recipe_cannot_lead_outside(line: str, folder: Path) -> None:
    (folder / "evil.toml").write_text(line)
    assert "outside of the folders" in refused(folder, recipe=str(folder / "evil.toml"))


@pytest.mark.parametrize(
    "line",
    [
        'method = {use = "evil.py:Evil"}',
        'method = {name = ["logits"], logits = {use = "evil.py:Evil"}}',
        'teacher = "evil.py:Evil"',
        'student = "evil.py:Evil"',
        'teacher = "evil.pt:forward"',
    ],
)
def test_code_is_not_run_by_the_page(line: str, folder: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Evil: pass")
    (folder / "evil.toml").write_text(line)
    assert "which the page does not run" in refused(folder, recipe=str(folder / "evil.toml"))
    for field in ("teacher", "student"):
        assert "which the page does not run" in refused(folder, **{field: f"{folder / 'evil.py'}:Evil"})
    assert not (folder / "ran").exists()


def test_a_damaged_recipe_gets_the_sentence_of_the_command_line(folder: Path) -> None:
    (folder / "bad.toml").write_text("steps = ")
    assert "is not valid TOML" in refused(folder, recipe=str(folder / "bad.toml"))
    (folder / "bad.toml").write_text("stepps = 3")
    assert "which is not a setting" in refused(folder, recipe=str(folder / "bad.toml"))


def test_only_its_own_process_is_stopped(folder: Path) -> None:
    jobs, place = of(folder), folder / "runs" / "mine"
    place.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        process = Process.of(other.pid)
        if process.started is None:
            pytest.skip("this system does not tell when a process started")
        wrong = dataclasses.replace(process, started=process.started - 1)
        for content in ({"process": dataclasses.asdict(wrong)}, {"process": {"pid": -1}}, {"process": 3}, [], {}):
            (place / JOB).write_text(json.dumps(content))
            with pytest.raises(HkdsrError, match="no distillation of this page runs"):
                jobs.stop("mine")
        assert other.poll() is None
        (place / JOB).write_text(json.dumps({"process": dataclasses.asdict(process)}))
        assert run_of(folder).state == "running"
        jobs.stop("mine")
        assert other.wait(WAIT) == -signal.SIGTERM


def test_the_output_is_text_without_what_terminals_draw(folder: Path) -> None:
    place = folder / "runs" / "mine"
    place.mkdir(parents=True)
    (place / LOG).write_bytes(b"x" * 10**6 + b"\n 10%\r 20%\r\n\x1b[31mred\x1b[0m \xff\x07\nstep 3 of 9\n\n")
    assert of(folder).log("mine", 3) == " 20%\nred \ufffd\nstep 3 of 9"


def test_choices(folder: Path) -> None:
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.png").write_bytes(b"")
    assert image_folders(folder) == [("images", str(folder / "images"))]
    assert recipes(folder) == [("tiny.toml", str(folder / "tiny.toml"))]
