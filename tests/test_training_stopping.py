"""A training says who trains and why it ended, and SIGTERM ends it without a lost step."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny

from hkdsr.errors import HkdsrError
from hkdsr.processes import Process
from hkdsr.training.run import distill
from hkdsr.training.stopping import asked_to_stop, stopped_by_sigterm


@dataclasses.dataclass(frozen=True)
class Terminates(tiny.KilledAt):
    """Does before ``step``, ``times`` times, what SIGTERM does.

    The signal itself is sent to processes of their own, in test_app_jobs.py: here, it could end the tests.
    """

    times: int = 1

    def before_step(self, step: int) -> None:
        if step == self.step:
            for _ in range(self.times):
                deliver()


def deliver() -> None:
    handler = signal.getsignal(signal.SIGTERM)
    assert callable(handler)
    handler(signal.SIGTERM, None)


def said(out: Path) -> dict[str, Any]:
    return json.loads((out / "run.json").read_text())


def test_sigterm_ends_a_training_after_its_step_and_it_goes_on_exactly(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    whole = dataclasses.replace(recipe, out=tmp_path / "whole")
    distill(whole)
    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_sigterm():
        stopped = distill(recipe, Terminates(7))
    assert signal.getsignal(signal.SIGTERM) == before
    # No checkpoint was due at step 8.
    assert stopped.steps == tiny.state(recipe.out)["step"] == 8
    assert said(recipe.out)["error"] == ""
    with stopped_by_sigterm():
        assert distill(recipe).steps == 12
    for part in ("step", "fingerprint", "model", "average", "optimiser"):
        assert tiny.equal(tiny.state(whole.out)[part], tiny.state(recipe.out)[part]), part
    assert tiny.losses(whole.out) == tiny.losses(recipe.out)


def test_sigterm_interrupts_at_once_before_the_steps_and_the_second_time(tmp_path: Path) -> None:
    with stopped_by_sigterm(), pytest.raises(KeyboardInterrupt):
        deliver()
    recipe = tiny.recipe(tmp_path)
    with stopped_by_sigterm(), pytest.raises(KeyboardInterrupt):
        distill(recipe, Terminates(7, times=2))
    assert tiny.state(recipe.out)["step"] == 5
    assert said(recipe.out)["error"] == "interrupted"
    with asked_to_stop() as asked:
        assert not asked()


def test_a_training_says_which_process_it_is_and_why_it_ended(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    during: list[dict[str, Any]] = []

    class Reads(tiny.KilledAt):
        def before_step(self, step: int) -> None:
            during.append(said(recipe.out))
            if step == self.step:
                raise HkdsrError("the disk is full")

    with pytest.raises(HkdsrError):
        distill(recipe, Reads(2))
    assert Process(**during[0]["process"]).runs
    assert during[0]["process"]["pid"] == os.getpid()
    assert during[0]["ended"] is None
    assert during[0]["recipe"]["training.steps"] == "12"
    assert said(recipe.out)["error"] == "the disk is full"
    assert said(recipe.out)["ended"] >= said(recipe.out)["began"]
    distill(recipe)
    assert said(recipe.out)["error"] == ""


def test_a_process_is_not_taken_for_another_one() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    assert process.runs
    assert process.is_here
    if process.started is not None:
        assert not dataclasses.replace(process, started=process.started - 1).runs
    assert not dataclasses.replace(process, host="another").runs
    child.kill()
    # Before the parent asks how it ended, its number is still in use.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process.runs or process.started is None
    child.communicate()
    assert not process.runs
