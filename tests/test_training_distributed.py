"""Several real processes that train one network over gloo, compared with a single one.

Run as a script, this file is what such a process does.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest
import tiny
import torch
from processes import TORCHRUN, completed
from test_training_pruned import begun, recipe_of
from torch import nn

from hkdsr.data.crops import CropSampler
from hkdsr.errors import HkdsrError
from hkdsr.methods import FAKD, HKDSR, VID, HKDSRPlus, Logits
from hkdsr.nets.files.load import load
from hkdsr.training import distributed
from hkdsr.training.distributed import check_device, joined
from hkdsr.training.process_group import ALONE, ProcessGroup
from hkdsr.training.run import distill

METHODS = {
    "hkdsr": HKDSR(fsm_samples=20, fsm_crop=16, exits_every=2),  # each process makes the exits of one crop
    "hkdsr_idle": HKDSR(sim_w=0.0, ada_w=0.0),  # its exits have no gradient
    "fakd": FAKD(channel_weight=0.1, affinity_every=2, affinity_samples=30),
    "hkdsr_plus": HKDSRPlus(zoom_in_share=0.0, affinity_stored=True),  # tiles are drawn for each image
    "vid": VID(),
}
SINGLE = {"hkdsr": HKDSR(), "fakd": FAKD(channel_weight=0.1), "vid": VID()}  # nothing is drawn for a whole batch
STEPS = 20


def trained_by_both(folder: Path, what: str) -> Path:
    """All methods trained by one process (``one``) and by two (``two``), each with a cache of its own."""
    completed([sys.executable, __file__, what, str(folder / "one")])
    completed([*TORCHRUN, __file__, what, str(folder / "two")])
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In float64."""
    return trained_by_both(tmp_path_factory.mktemp("trained"), "train")


@pytest.fixture(scope="module")
def trained_single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In float32, the one process taking its batch in the two parts that the two processes take."""
    return trained_by_both(tmp_path_factory.mktemp("trained_single"), "train_single")


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


def test_two_processes_begin_with_the_pruned_start_of_one(tmp_path: Path) -> None:
    folder = trained_by_both(tmp_path, "train_pruned")
    starts = [(folder / size / f"start-{rank}").read_text() for size, rank in (("one", 0), ("two", 0), ("two", 1))]
    assert len(set(starts)) == 1
    one, two = (list((folder / size / "cache").glob("pruned-*.safetensors")) for size in ("one", "two"))
    assert len(one) == len(two) == 1  # the second process made none
    assert one[0].name == two[0].name
    # Not the bytes of the files: safetensors writes what describes the weights in any order.
    assert tiny.equal(load(one[0]).state_dict(), load(two[0]).state_dict())
    own, both = (tiny.state(folder / size / "out") for size in ("one", "two"))
    assert tiny.equal(own["model"], both["model"])
    assert tiny.equal(own["average"], both["average"])


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


def test_what_the_processes_exchange(tmp_path: Path) -> None:
    completed([*TORCHRUN, __file__, "exchange", str(tmp_path)])


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_shares_make_up_the_batch(count: int, tmp_path: Path) -> None:
    store = tiny.store(tmp_path)
    whole = CropSampler(store, 10, 6, seed=3).batch(4)
    shares = [CropSampler(store, 10, 6, seed=3, share=(index, count)).batch(4) for index in range(count)]
    assert {len(share.lr) for share in shares} == {6 // count}
    assert torch.equal(torch.cat([share.lr for share in shares]), whole.lr)
    assert torch.equal(torch.cat([share.hr for share in shares]), whole.hr)


def test_each_process_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cuda, cuda_1, second = torch.device("cuda"), torch.device("cuda:1"), ProcessGroup(1, 3)
    check_device("cuda:1", cuda_1, ALONE)
    monkeypatch.setenv("LOCAL_RANK", "1")
    check_device("auto", cuda, second)
    check_device("cpu", torch.device("cpu"), second)
    with pytest.raises(HkdsrError, match=r"^training.device is 'cuda:1', but each process needs its own GPU: set it"):
        check_device("cuda:1", cuda_1, second)
    with pytest.raises(HkdsrError, match=r"^training.device is 'mps', which only one process can use: set it to cuda"):
        check_device("mps", torch.device("mps"), second)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(HkdsrError, match=r"^there are fewer GPUs \(2\) than processes on this machine: start as many"):
        check_device("auto", cuda, second)


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in distributed.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with joined() as group:
        assert group == ALONE == distributed.process_group()
        assert group.main
        assert group.agreed("x") == group.main_first(lambda: "x") == "x"
        assert group.gathered("x") == ["x"]


def train(out: Path, group: ProcessGroup) -> None:
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # whoever asks for float32 gets float64
    torch.set_num_threads(1)
    if group.main:
        tiny.recipe(out)
    group.wait()
    for name, method in METHODS.items():
        distill(dataclasses.replace(tiny.recipe(out, method, steps=STEPS, batch=4), out=out / name))


def train_single(out: Path, group: ProcessGroup) -> None:
    torch.set_num_threads(1)
    if group.main:
        tiny.recipe(out)
    group.wait()
    for name, method in SINGLE.items():
        recipe = tiny.recipe(out, method, steps=STEPS, batch=4, accumulate=2 // group.size)
        distill(dataclasses.replace(recipe, out=out / name))


def train_pruned(out: Path, group: ProcessGroup) -> None:
    torch.set_num_threads(1)
    if group.main:
        recipe_of(out)
    group.wait()
    recipe = dataclasses.replace(recipe_of(out, steps=6, batch=4, accumulate=2 // group.size), method=Logits())
    (out / f"start-{group.rank}").write_text(begun(dataclasses.replace(recipe, out=out / "begun")))
    distill(recipe)


def exchange(out: Path, group: ProcessGroup) -> None:
    assert group == distributed.process_group() == ProcessGroup(int(os.environ["RANK"]), 2)
    rank = group.rank
    assert group.agreed(f"from {rank}") == "from 0"
    assert group.gathered(f"from {rank}") == ["from 0", "from 1"]
    assert group.main_first(lambda: (out / "made").exists() or (out / "made").touch()) == (None if group.main else True)
    assert group.means({"a": torch.tensor(1.0 + rank), "b": torch.tensor(4.0 * rank)}) == {"a": 1.5, "b": 2.0}

    layered = nn.Parameter(torch.zeros(2, 3, 2, 2).to(memory_format=torch.channels_last))
    layered.grad = torch.full_like(layered, 1.0 + 2 * rank)
    layered.grad[1, 2, 0, 1] = rank
    seldom, never = nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(()))
    seldom.grad = torch.ones(5) if rank else None
    group.average_gradients([never, layered, seldom])
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
    group.share_state(state)
    for kind, tensor in zip(kinds, state, strict=False):
        assert torch.equal(tensor, torch.tensor([0, 1, 2]).to(kind))
    assert not any(tensor.any() for tensor in state[5:])


if __name__ == "__main__":
    with joined() as together:
        {"train": train, "train_single": train_single, "train_pruned": train_pruned, "exchange": exchange}[sys.argv[1]](
            Path(sys.argv[2]), together
        )
