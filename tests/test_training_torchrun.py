"""``hkdsr distill`` as several processes: killed, continued, and ended by a mistake in one of them."""

from __future__ import annotations

import json
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

from hkdsr.nets.files.load import build, load
from hkdsr.training.sessions import read_sessions

METHOD_FILE = """
from __future__ import annotations
import os
import signal
from dataclasses import dataclass

from hkdsr.methods import Method


@dataclass(frozen=True)
class Fails(Method):
    how: str = "nan"

    def before_step(self, heads, student, step):
        second = os.environ["RANK"] == "1"
        if self.how == "killed" and second and step == 9 and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
            os.kill(os.getpid(), signal.SIGKILL)

    def losses(self, heads, inputs):
        pixel = (inputs.student.final - inputs.hr).abs().mean()
        if os.environ["RANK"] == "1":
            if self.how == "bug":
                raise ZeroDivisionError
            if self.how == "nan":
                pixel = pixel * float(self.how)
        return {"pixel": pixel}
"""
SHARED_BATCH = "training.batch is 5, which 2 processes cannot share evenly: set it to a multiple of 2"


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


def ended(processes: list[subprocess.Popen[str]]) -> tuple[list[int], str]:
    """Exit codes and all messages."""
    messages = [process.communicate(timeout=120)[1] for process in processes]
    return [process.returncode for process in processes], "".join(messages)


def torchrun(*words: str) -> subprocess.Popen[str]:
    """The real command with two processes; its standard error stays open until the last of them has ended."""
    command = [*TORCHRUN, *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


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
    return [*(str(word) for pair in flags.items() for word in pair), *tiny.UNTRAINED, *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs and the teacher of the real command."""
    folder = tmp_path_factory.mktemp("distributed")
    tiny.photographs(folder / "images")
    tiny.teacher(folder / "teacher.safetensors")
    return folder


@pytest.fixture(scope="module")
def fails(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags of a method whose second process fails."""
    file = tmp_path_factory.mktemp("method") / "fails.py"
    file.write_text(METHOD_FILE)
    return ["--method.use", f"{file}:Fails"]


def assert_same_training(one: Path, other: Path) -> None:
    """To the last bit, in the log too."""
    first, second = tiny.state(one), tiny.state(other)
    for part in ("step", "fingerprint", "best", "model", "average", "optimiser"):
        assert tiny.equal(first[part], second[part]), part
    assert tiny.losses(one) == tiny.losses(other)


def test_a_killed_run_of_two_continues_exactly(folder: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    codes, messages = ended(start(*[arguments(folder, whole)] * 2))
    assert codes == [0, 0], messages
    # Only the first process writes files and messages.
    assert messages.count("training on 3 images") == messages.count("30 steps in ") == 1
    names = {".lock", "cache", "best.safetensors", "last.pt", "sessions.jsonl", "log.jsonl", "student.safetensors"}
    names |= {"run.json", "validation"}
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
    killed = tiny.state(cut)["step"]
    assert 14 <= killed < 30
    codes, messages = ended(start(*[arguments(folder, cut, "--training.minutes", "0")] * 2))
    assert codes == [0, 0], messages
    assert f"\n{killed + 1} steps in " in messages
    assert tiny.state(cut)["step"] == killed + 1
    completed([*TORCHRUN, "-m", "hkdsr", "distill", *arguments(folder, cut)])
    assert [(session["from_step"], session["processes"]) for session in read_sessions(cut)] == [
        (0, 2),
        (killed, 2),
        (killed + 1, 2),
    ]
    assert_same_training(whole, cut)


def test_torchrun_starts_a_killed_process_again(folder: Path, fails: list[str], tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    more = [*fails, "--method.how", "killed"]
    codes, messages = ended(start(*[arguments(folder, whole, *more)] * 2))
    assert codes == [0, 0], messages
    process = torchrun("--max-restarts", "3", "-m", "hkdsr", "distill", *arguments(folder, cut, *more))
    codes, messages = ended([process])
    assert codes == [0], messages
    assert [(line["from_step"], line.get("to_step")) for line in read_sessions(cut)] == [(0, None), (7, 30)]
    assert "Traceback" not in messages
    assert_same_training(whole, cut)


def test_processes_end_with_torchrun(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = torchrun("-m", "hkdsr", "distill", *arguments(folder, out, "--training.steps", "1000000"))
    while process.poll() is None and not (out / "last.pt").exists():
        time.sleep(0.01)
    process.kill()
    codes, messages = ended([process])
    assert codes == [-signal.SIGKILL]
    assert messages.count("torchrun was killed during the training: run the same command again to continue") == 1
    assert "Traceback" not in messages


def test_torchruns_report_ends_with_the_sentence(folder: Path, tmp_path: Path) -> None:
    """A mistake of the user's is told once, however often torchrun starts the processes again."""
    again = ("--max-restarts", "2", "-m", "hkdsr", "distill")
    process = torchrun(*again, *arguments(folder, tmp_path / "out", "--training.batch", "5"))
    _, messages = ended([process])
    assert messages.count(f"hkdsr distill: {SHARED_BATCH}\n") == 1
    assert messages.count("Traceback") == 1  # torchrun's own
    assert messages.rstrip().splitlines()[-2] == f"  traceback : {SHARED_BATCH}"


def test_two_processes_train_several_sizes(folder: Path, tmp_path: Path) -> None:
    words = arguments(folder, tmp_path, "--students", "12k params,5k params", "--training.steps", "3")
    codes, messages = ended(start(words, words))
    assert codes == [0, 0], messages
    assert list(json.loads((tmp_path / "chosen.json").read_text())) == ["12k params", "5k params"]
    large, small = tmp_path / "12k-params", tmp_path / "5k-params"
    for out in (large, small):
        assert [(session["to_step"], session["processes"]) for session in read_sessions(out)] == [(3, 2)]
    assert messages.count("size 5k params: ") == messages.count("pruned start: ") == 1
    assert (small / "larger.safetensors").read_bytes() == (large / "student.safetensors").read_bytes()


def test_two_processes_take_the_student_that_one_has_timed(folder: Path, tmp_path: Path) -> None:
    budget = "20 ms @ 64x48"
    words = arguments(folder, tmp_path, "--student", "auto", "--budget", budget, "--training.steps", "3")
    codes, messages = ended(start(words, words))
    assert codes == [0, 0], messages
    assert messages.count("  chosen\n") == 1
    chosen = json.loads((tmp_path / "chosen.json").read_text())[budget]
    weights = tmp_path / "student.safetensors"
    assert json.loads(json.loads(tiny.metadata(weights)["recipe"])["student"]) == chosen
    assert load(weights).settings == build(chosen, 2).settings


@pytest.mark.parametrize("mistake", ["all", "flag", "one", "nan", "bug", "budget"])
def test_what_stops_one_process_stops_all_with_one_sentence(
    mistake: str, folder: Path, fails: list[str], tmp_path: Path
) -> None:
    given = {
        "all": [["--training.batch", "5"]] * 2,
        "flag": [["--training.stps", "5"]] * 2,
        "one": [[], ["--teacher", "missing.pth"]],
        "nan": [fails] * 2,
        "bug": [[*fails, "--method.how", "bug"]] * 2,
        "budget": [["--student", "auto", "--budget", "10 params"]] * 2,
    }
    processes = start(*(arguments(folder, tmp_path / "out", *more) for more in given[mistake]))
    codes, messages = ended(processes)
    assert codes == ([1, 1] if mistake == "bug" else [2, 2]), messages
    expected = {
        "all": f"hkdsr distill: {SHARED_BATCH}",
        "flag": "│ Unrecognized options",
        "one": "hkdsr distill: there is no checkpoint missing.pth",
        "nan": "hkdsr distill: the loss term 'pixel' is nan at step 1: lower training.lr",
        "bug": ": ZeroDivisionError\n",
        "budget": "hkdsr distill: no student is within the budget '10 params': the smallest one",
    }
    assert messages.count(expected[mistake]) == 1, messages
    assert messages.count("hkdsr distill: ") == ("hkdsr distill: " in expected[mistake]), messages
    assert messages.count("Traceback") == (mistake == "bug"), messages
    assert not (tmp_path / "out" / "last.pt").exists()
