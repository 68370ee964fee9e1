"""Checkpoints and the log when files are damaged, disks are full, or a run was killed between two writes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from limited import files_up_to

from hkdsr.data.crops import CropSampler
from hkdsr.errors import HkdsrError
from hkdsr.training.log import TrainingLog, read_log


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> CropSampler:
    return CropSampler(tiny.store(tmp_path_factory.mktemp("data")), 10, 5, seed=3)


def truncated(file: Path) -> bytes:
    return file.read_bytes()[: file.stat().st_size // 2]


def rewritten(content: Any) -> Callable[[Path], bytes]:
    def make(file: Path) -> bytes:
        torch.save(content, file)
        return file.read_bytes()

    return make


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: b"",
        lambda file: b"no checkpoint",
        lambda file: bytes(100),
        truncated,
        rewritten([1, 2]),
        rewritten(torch.zeros(3)),
        rewritten({"format": 1, "step": 3}),
        rewritten({"format": 99}),
        rewritten({}),
    ],
)
def test_a_damaged_checkpoint(damage: Callable[[Path], bytes], tmp_path: Path, sampler: CropSampler) -> None:
    tiny.fit(tiny.Toy(), sampler, tiny.settings(steps=2), tmp_path)
    file = tmp_path / "last.pt"
    file.write_bytes(damage(file))
    with pytest.raises(HkdsrError, match=r"^\S*last\.pt is damaged or from another version: delete it to start again"):
        tiny.fit(tiny.Toy(), sampler, tiny.settings(), tmp_path)
    file.unlink()
    assert tiny.fit(tiny.Toy(), sampler, tiny.settings(), tmp_path).steps == 6


def test_a_write_that_fails_leaves_the_checkpoint_before(tmp_path: Path, sampler: CropSampler) -> None:
    toy, alike = tiny.Toy(), tiny.Toy()
    alike.load_state_dict(toy.state_dict())
    tiny.fit(toy, sampler, tiny.settings(), tmp_path / "whole")
    with ExitStack() as limits:

        def no_room_from_now(step: int) -> None:
            if step == 2:
                limits.enter_context(files_up_to(2000))  # enough for the log

        with pytest.raises(HkdsrError, match=r"^cannot write \S*last\.pt \(File too large\): free space"):
            tiny.fit(alike, sampler, tiny.settings(), tmp_path / "cut", before_step=no_room_from_now)
    assert tiny.state(tmp_path / "cut")["step"] == 2
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == [".lock", "last.pt", "log.jsonl"]
    tiny.fit(tiny.Toy(), sampler, tiny.settings(), tmp_path / "cut")
    assert tiny.equal(tiny.state(tmp_path / "cut")["model"], tiny.state(tmp_path / "whole")["model"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 100 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_fills_up(small_disk: Path, tmp_path: Path, sampler: CropSampler) -> None:
    torch.manual_seed(0)
    tiny.fit(tiny.Toy(), sampler, tiny.settings(), tmp_path / "whole")
    # Room for the log, one checkpoint and a page more, but not for the next checkpoint beside it.
    pages = -(-(tmp_path / "whole" / "last.pt").stat().st_size // 4096)
    assert pages > 1
    filler = small_disk / "filler"
    filler.write_bytes(bytes(100 * 1024 - 4096 * (pages + 2)))
    torch.manual_seed(0)
    with pytest.raises(HkdsrError, match=r"cannot write \S*last\.pt \(No space left on device\): free space"):
        tiny.fit(tiny.Toy(), sampler, tiny.settings(), small_disk / "out")
    assert tiny.state(small_disk / "out")["step"] == 2
    filler.unlink()
    tiny.fit(tiny.Toy(), sampler, tiny.settings(), small_disk / "out")
    assert tiny.equal(tiny.state(small_disk / "out")["model"], tiny.state(tmp_path / "whole")["model"])


def test_a_log_that_cannot_grow(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0, tensorboard=False) as log:
        log.terms(1, 0.1, 1e-4, {"pixel": 0.5})
        size = (tmp_path / "log.jsonl").stat().st_size
        with files_up_to(size + 20), pytest.raises(HkdsrError, match=r"^cannot write \S*log\.jsonl \(File too large\)"):
            log.terms(2, 0.2, 1e-4, {"pixel": 0.4})
    assert (tmp_path / "log.jsonl").stat().st_size == size + 20
    assert [line["step"] for line in read_log(tmp_path)] == [1]


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path: Path, sampler: CropSampler) -> None:
    with pytest.raises(HkdsrError):
        tiny.fit(tiny.Toy(breaks_at=6), sampler, tiny.settings(steps=6), tmp_path, "1")
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3, 4, 5]
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "losses": {"wh')
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3, 4, 5]
    tiny.fit(tiny.Toy(), sampler, tiny.settings(steps=6), tmp_path, "1")
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert all(line["losses"].keys() == {"whole", "square"} for line in read_log(tmp_path))


def test_the_log_compares_each_term_to_the_pixel_term(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0, tensorboard=False) as log:
        log.terms(1, 0.1, 1e-4, {"pixel": 0.5, "fsm": 0.2})
        log.terms(2, 0.2, 1e-4, {"exit1": 0.5})
    assert [line["to_pixel"] for line in read_log(tmp_path)] == [{"fsm": 0.4}, {}]
