"""Several processes that train one network: real ones, over gloo, held against a single one.

Run as a script, this file is what such a process does.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from hkdsr.data.crops import CropSampler
from hkdsr.errors import HkdsrError
from hkdsr.methods import FAKD, HKDSR, VID, HKDSRPlus
from hkdsr.training import distributed
from hkdsr.training.distributed import ALONE, Team, joined
from hkdsr.training.fit import pick_device
from hkdsr.training.legs import read_legs
from hkdsr.training.run import distill

METHODS = {
    "hkdsr": HKDSR(fsm_samples=20, fsm_crop=16),
    "hkdsr_idle": HKDSR(sim_w=0.0, ada_w=0.0),  # its exits have no gradient
    "fakd": FAKD(channel_weight=0.1),
    "hkdsr_plus": HKDSRPlus(zoom_in_share=0.0),  # tiles are drawn for each picture
    "vid": VID(),
}
SINGLE = {"hkdsr": HKDSR(), "fakd": FAKD(channel_weight=0.1), "vid": VID()}  # nothing is drawn for a whole batch
STEPS = 20
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

METHOD_FILE = """
from __future__ import annotations
import os
from dataclasses import dataclass

from hkdsr.methods import Method


@dataclass(frozen=True)
class Fails(Method):
    how: str = "nan"

    def losses(self, heads, lesson):
        pixel = (lesson.student.final - lesson.hr).abs().mean()
        if os.environ.get("RANK") == "1":
            if self.how == "bug":
                raise ZeroDivisionError
            pixel = pixel * float(self.how)
        return {"pixel": pixel}
"""


def completed(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr


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
    """HKDSR with stage 1, cached teacher's pictures, validation and parts of batches."""
    flags = {
        "--teacher": folder / "teacher.safetensors",
        "--student": tiny.STUDENT,
        "--out": out,
        "--data.train": folder / "pictures",
        "--data.val": folder / "pictures",
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
    tiny.photographs(folder / "pictures")
    tiny.teacher(folder / "teacher.safetensors")
    return folder


@pytest.fixture(scope="module")
def trained_single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in float32, the one process taking its batch in the two parts that the two processes take."""
    folder = tmp_path_factory.mktemp("trained_single")
    completed([sys.executable, __file__, "train_single", str(folder / "one")])
    completed([*TORCHRUN, __file__, "train_single", str(folder / "two")])
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All methods trained by one process (``one``) and by two (``two``), each with a cache of its own."""
    folder = tmp_path_factory.mktemp("trained")
    completed([sys.executable, __file__, "train", str(folder / "one")])
    completed([*TORCHRUN, __file__, "train", str(folder / "two")])
    return folder


# In float64: rounding in float32 is 1e-8 at first but may grow past 1e-6 within 20 steps, where it turns the sign of an
# L1's gradient or where Adam divides a gradient that is nearly zero by its own size. It did so in 4 of 24 runs.
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_as_one_does(name: str, trained: Path) -> None:
    one, two = (tiny.state(trained / size / name) for size in ("one", "two"))
    assert one["step"] == two["step"] == STEPS
    assert one["model"].keys() == two["model"].keys()
    assert any(key.startswith("heads") for key in one["model"])
    assert any(key.startswith("exits") for key in one["model"]) == name.startswith("hkdsr")
    for part in ("model", "average"):
        for key, value in one[part].items():
            assert value.dtype == torch.float64
            torch.testing.assert_close(two[part][key], value, rtol=0, atol=1e-12, msg=lambda text, key=key: key + text)
    assert one["optimiser"]["state"].keys() == two["optimiser"]["state"].keys()
    for mine, theirs in zip(tiny.losses(trained / "one" / name), tiny.losses(trained / "two" / name), strict=True):
        assert mine[2] == pytest.approx(theirs[2], rel=1e-9)


@pytest.mark.parametrize("name", SINGLE)
def test_in_float32_two_processes_train_as_one_with_two_parts_does(name: str, trained_single: Path) -> None:
    one, two = (tiny.state(trained_single / size / name) for size in ("one", "two"))
    assert one["step"] == two["step"] == STEPS
    assert all(value.dtype == torch.float32 for value in one["model"].values() if value.is_floating_point())
    assert any(key.startswith("heads") for key in one["model"])
    assert tiny.equal(one["model"], two["model"])
    assert tiny.equal(one["average"], two["average"])


def test_the_weights_and_heads_that_agree_have_moved(trained: Path) -> None:
    for name in METHODS:
        state = tiny.state(trained / "two" / name)
        idle = len(state["optimiser"]["param_groups"][0]["params"]) - len(state["optimiser"]["state"])
        assert (idle > 0) == (name == "hkdsr_idle")
        moved = [float((state["model"][k] - state["average"][k]).abs().max()) for k in state["model"]]
        assert sorted(moved)[len(moved) // 2] > 1e-4


def test_stage_1_is_the_same_to_the_last_bit(trained: Path) -> None:
    one, two = (list((trained / size / "cache").glob("exits-*/heads.safetensors")) for size in ("one", "two"))
    assert len(one) == len(two) == 1
    assert one[0].read_bytes() == two[0].read_bytes()


def test_what_the_processes_tell_one_another(tmp_path: Path) -> None:
    completed([*TORCHRUN, __file__, "talk", str(tmp_path)])


def test_a_killed_run_of_two_goes_on_exactly(folder: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    codes, printed, complaints = ended(start(*[arguments(folder, whole)] * 2))
    assert codes == [0, 0], complaints
    # One of the two has spoken and written.
    assert [line.split()[0] for line in printed.splitlines()] == ["3", "note:", "teacher's", "30"]
    names = {".lock", "cache", "best.safetensors", "last.pt", "legs.jsonl", "log.jsonl", "student.safetensors"}
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
    assert [(leg["from_step"], leg["processes"]) for leg in read_legs(cut)] == [(0, 2), (killed, 2), (killed + 1, 2)]
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


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_shares_make_up_the_batch(count: int, tmp_path: Path) -> None:
    store = tiny.store(tmp_path)
    whole = CropSampler(store, 10, 6, seed=3).batch(4)
    shares = [CropSampler(store, 10, 6, seed=3, share=(index, count)).batch(4) for index in range(count)]
    assert {len(share.lr) for share in shares} == {6 // count}
    assert torch.equal(torch.cat([share.lr for share in shares]), whole.lr)
    assert torch.equal(torch.cat([share.hr for share in shares]), whole.hr)


def test_each_process_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    monkeypatch.setattr(distributed, "_team", Team(1, 3))
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == torch.device("cuda")
    with pytest.raises(HkdsrError, match=r"^training.device is 'cuda:1', but each process needs its own GPU: set it"):
        pick_device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(HkdsrError, match=r"^there are fewer GPUs \(2\) than processes on this machine: start as many"):
        pick_device("auto")
    with pytest.raises(HkdsrError, match=r"^training.device is 'mps', on which one process trains alone: set it"):
        pick_device("mps")
    assert pick_device("cpu") == torch.device("cpu")


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in distributed.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with joined() as team:
        assert team == ALONE == distributed.team()
        assert team.main
        assert team.told("x") == team.main_first(lambda: "x") == "x"


def train(out: Path, team: Team) -> None:
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # whoever asks for float32 gets float64
    torch.set_num_threads(1)
    if team.main:
        tiny.recipe(out)
    team.wait()
    for name, method in METHODS.items():
        distill(dataclasses.replace(tiny.recipe(out, method, steps=STEPS, batch=4), out=out / name))


def train_single(out: Path, team: Team) -> None:
    torch.set_num_threads(1)
    if team.main:
        tiny.recipe(out)
    team.wait()
    for name, method in SINGLE.items():
        recipe = tiny.recipe(out, method, steps=STEPS, batch=4, accumulate=2 // team.size)
        distill(dataclasses.replace(recipe, out=out / name))


def talk(out: Path, team: Team) -> None:
    assert team == distributed.team() == Team(int(os.environ["RANK"]), 2)
    rank = team.rank
    assert team.told(f"from {rank}") == "from 0"
    assert team.main_first(lambda: (out / "made").exists() or (out / "made").touch()) == (None if team.main else True)
    assert team.means({"a": torch.tensor(1.0 + rank), "b": torch.tensor(4.0 * rank)}) == {"a": 1.5, "b": 2.0}

    layered = nn.Parameter(torch.zeros(2, 3, 2, 2).to(memory_format=torch.channels_last))
    layered.grad = torch.full_like(layered, 1.0 + 2 * rank)
    layered.grad[1, 2, 0, 1] = rank
    seldom, never = nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(()))
    seldom.grad = torch.ones(5) if rank else None
    team.average_gradients([never, layered, seldom])
    expected = torch.full((2, 3, 2, 2), 2.0)
    expected[1, 2, 0, 1] = 0.5
    assert torch.equal(layered.grad, expected)
    assert layered.grad.is_contiguous(memory_format=torch.channels_last)
    assert seldom.grad is not None
    assert torch.equal(seldom.grad, torch.full((5,), 0.5))
    assert never.grad is None

    kinds = (torch.bool, torch.float64, torch.uint8, torch.int64, torch.float32)
    state = [torch.arange(3 + rank, 6 + rank).remainder(3).to(kind) for kind in kinds]
    state += [torch.tensor(float(rank)), torch.zeros(0), torch.full((1, 2, 3, 3), rank).mT]
    team.share_state(state)
    for kind, tensor in zip(kinds, state, strict=False):
        assert torch.equal(tensor, torch.tensor([0, 1, 2]).to(kind))
    assert not any(tensor.any() for tensor in state[5:])


if __name__ == "__main__":
    with joined() as together:
        {"train": train, "train_single": train_single, "talk": talk}[sys.argv[1]](Path(sys.argv[2]), together)
