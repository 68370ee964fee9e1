"""``hkdsr distill`` as several processes: killed, gone on with, and stopped by a mistake in one of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from processes import TORCHRUN, completed

from hkdsr.training.sessions import read_sessions

METHOD_FILE = """
from __future__ import annotations
import os
from dataclasses import dataclass

from hkdsr.methods import Method


@dataclass(frozen=True)
class Fails(Method):
    how: str = "nan"

    def losses(self, heads, inputs):
        pixel = (inputs.student.final - inputs.hr).abs().mean()
        if os.environ.get("RANK") == "1":
            if self.how == "bug":
                raise ZeroDivisionError
            pixel = pixel * float(self.how)
        return {"pixel": pixel}
"""


def start(*commands: list[str]) -> list[subprocess.Popen[str]]:
    """``hkdsr distill`` in one process for each list of arguments, without torchrun, which hides their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(len(commands)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "hkdsr", "distill", *words],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, words in enumerate(commands)
    ]


def ended(processes: list[subprocess.Popen[str]]) -> tuple[list[int], str, str]:
    """Exit codes, and all that was printed and complained of."""
    texts = [process.communicate(timeout=400) for process in processes]
    printed, complaints = ("".join(part) for part in zip(*texts, strict=True))
    return [process.returncode for process in processes], printed, complaints


def arguments(folder: Path, out: Path, *more: str) -> list[str]:
    """HKDSR with stage 1, cached teacher's images, validation and parts of batches."""
    flags = {
        "--teacher": folder / "teacher.safetensors",
        "--student": tiny.STUDENT,
        "--out": out,
        "--data.train": folder / "images",
        "--data.val": folder / "images",
        "--data.patch": 12,
        "--data.cache": out / "cache",
        "--training.steps": 30,
        "--training.batch": 4,
        "--training.accumulate": 2,
        "--training.save-every": 7,
        "--training.validate-every": 15,
        "--training.log-every": 1,
        "--training.device": "cpu",
        "--exits.stage1-steps": 5,
    }
    return [*(str(word) for pair in flags.items() for word in pair), "--exits.allow-weak", *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs and the teacher of the real command."""
    folder = tmp_path_factory.mktemp("distributed")
    tiny.photographs(folder / "images")
    tiny.teacher(folder / "teacher.safetensors")
    return folder


def test_a_killed_run_of_two_goes_on_exactly(folder: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    codes, printed, complaints = ended(start(*[arguments(folder, whole)] * 2))
    assert codes == [0, 0], complaints
    # One of the two has spoken and written.
    assert [line.split()[0] for line in printed.splitlines()] == ["3", "note:", "teacher's", "running", "30"]
    names = {".lock", "cache", "best.safetensors", "last.pt", "sessions.jsonl", "log.jsonl", "student.safetensors"}
    assert {path.name for path in whole.iterdir()} == names
    assert [line[0] for line in tiny.losses(whole) if line[2]] == list(range(1, 31))
    assert [line[0] for line in tiny.losses(whole) if line[3]] == [15, 30]

    processes = start(*[arguments(folder, cut)] * 2)
    log = cut / "log.jsonl"
    while processes[0].poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= 17):
        time.sleep(0.001)
    for process in processes:
        process.kill()
    assert ended(processes)[0] == [-signal.SIGKILL] * 2
    assert 14 <= tiny.state(cut)["step"] < 30
    killed = tiny.state(cut)["step"]
    codes, printed, complaints = ended(start(*[arguments(folder, cut, "--training.minutes", "0")] * 2))
    assert codes == [0, 0], complaints
    assert printed.splitlines()[-1].startswith(f"{killed + 1} steps in ")
    assert tiny.state(cut)["step"] == killed + 1
    completed([*TORCHRUN, "-m", "hkdsr", "distill", *arguments(folder, cut)])
    assert [(session["from_step"], session["processes"]) for session in read_sessions(cut)] == [
        (0, 2),
        (killed, 2),
        (killed + 1, 2),
    ]
    state, state_cut = tiny.state(whole), tiny.state(cut)
    for part in ("step", "fingerprint", "best", "model", "average", "optimiser"):
        assert tiny.equal(state[part], state_cut[part]), part
    assert tiny.losses(whole) == tiny.losses(cut)


@pytest.mark.parametrize("mistake", ["all", "one", "nan", "bug"])
def test_what_stops_one_process_stops_all_with_one_sentence(mistake: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(METHOD_FILE)
    fails = ["--method.use", str(tmp_path / "fails.py:Fails")]
    given = {
        "all": [["--training.batch", "5"]] * 2,
        "one": [[], ["--teacher", "missing.pth"]],
        "nan": [fails] * 2,
        "bug": [[*fails, "--method.how", "bug"]] * 2,
    }
    processes = start(*(arguments(folder, tmp_path / "out", *more) for more in given[mistake]))
    codes, _, complaints = ended(processes)
    assert codes == ([1, 1] if mistake == "bug" else [2, 2]), complaints
    assert complaints.count("Traceback") == complaints.count(": ZeroDivisionError\n") == (mistake == "bug"), complaints
    sentences = [line for line in complaints.splitlines() if line.startswith("hkdsr distill: ")]
    expected = {
        "all": "training.batch is 5, which 2 processes cannot share evenly: set it to a multiple of 2",
        "one": "missing.pth",
        "nan": "the loss term 'pixel' is nan at step 1: lower the learning rate",
    }
    assert len(sentences) == (mistake in expected), complaints
    assert expected.get(mistake, "") in complaints
    assert not (tmp_path / "out" / "last.pt").exists()
