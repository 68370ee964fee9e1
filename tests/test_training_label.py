"""``hkdsr label``: the same stores, byte for byte, by however many processes and with however many kills."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from PIL import Image
from processes import TORCHRUN, completed

from hkdsr.data import rgb
from hkdsr.data.derived import DerivedStore
from hkdsr.data.embedded import demo_files
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits, Plain
from hkdsr.settings.degrade import Degrade
from hkdsr.training.label import label
from hkdsr.training.run import distill

COUNT = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred small photographs of four sizes and a teacher."""
    folder = tmp_path_factory.mktemp("label")
    (folder / "images").mkdir()
    sources = [rgb(path) for path in demo_files()[0].values()]
    for index in range(COUNT):
        source = sources[index % len(sources)]
        top, left, side = 3 * (index % 50), 2 * (index % 70), 40 + 4 * (index % 4)
        Image.fromarray(source[top : top + side, left : left + side + 2]).save(folder / "images" / f"{index:03}.png")
    tiny.teacher(folder / "teacher.safetensors")
    return folder


def arguments(folder: Path, cache: Path) -> list[str]:
    """HKDSR, which has stores for exits and for final images."""
    flags = {
        "--teacher": folder / "teacher.safetensors",
        "--scale": 2,
        "--out": cache / "unused",
        "--data.train": folder / "images",
        "--data.patch": 12,
        "--data.cache": cache,
        "--training.device": "cpu",
        "--exits.stage1-steps": 5,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    return ["-m", "hkdsr", "label", *words, *tiny.UNTRAINED]


def stores(cache: Path) -> dict[str, bytes]:
    """The content of all stores of the teacher's images."""
    return {str(path.relative_to(cache)): path.read_bytes() for path in sorted(cache.glob("derived-*/*"))}


@pytest.fixture(scope="module")
def whole(folder: Path) -> dict[str, bytes]:
    """What one process makes that is never killed."""
    cache = folder / "whole"
    completed([sys.executable, *arguments(folder, cache)])
    found = stores(cache)
    assert sum(name.endswith("finished.log") for name in found) == 2
    assert len(found) == 4
    return found


def started(folder: Path, cache: Path, ranks: int) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, *arguments(folder, cache)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(ranks)
    ]


def entries(cache: Path, log: str) -> int:
    return sum(path.read_bytes().count(b".") for path in cache.glob(f"derived-*/{log}"))


def killed(processes: list[subprocess.Popen[str]], rank: int, when: Callable[[], bool]) -> list[str]:
    """Kill one process; returns what each has said."""
    while all(process.poll() is None for process in processes) and not when():
        time.sleep(0.001)
    processes[rank].kill()
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert processes[rank].returncode == -signal.SIGKILL, said
    return said


def test_a_killed_process_goes_on(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    killed(started(folder, tmp_path, 1), 0, lambda: entries(tmp_path, "finished.log") > 20)
    assert 20 < entries(tmp_path, "finished.log") < 2 * COUNT
    done = subprocess.run([sys.executable, *arguments(folder, tmp_path)], capture_output=True, text=True, check=True)
    first, *named = done.stdout.splitlines()
    made = int(first.split(", ")[1].split()[0])
    assert first.startswith(f"images of the teacher for {COUNT} training images, ")
    assert 0 < made <= COUNT - 10
    assert sorted(named) == sorted(f"  {path}" for path in tmp_path.glob("derived-*"))
    assert stores(tmp_path) == whole


def test_two_processes_share_the_images(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    said = killed(started(folder, tmp_path, 2), 1, lambda: entries(tmp_path, "finished-1.log") > 10)
    # The other one ends too, with one sentence.
    assert said[0].count("the connection to another process of this training is lost") == 1
    assert "Traceback" not in said[0]
    assert entries(tmp_path, "finished.log")
    assert 10 < entries(tmp_path, "finished-1.log") < COUNT
    completed([*TORCHRUN, *arguments(folder, tmp_path)])
    assert stores(tmp_path) == whole


def recipe(folder: Path, **training: Any):
    return tiny.exits(tiny.recipe(folder, HKDSR(), **training), teacher_images="cached")


def test_a_distillation_finds_the_images_and_is_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    distill(recipe(tmp_path / "alone"))
    ours = recipe(tmp_path / "labelled")
    labels = label(ours)
    assert (labels.images, labels.made, len(labels.folders)) == (3, 3, 2)
    assert label(ours).made == 0
    assert ours.data.cache
    before = stores(ours.data.cache)
    caplog.clear()
    distill(ours)
    assert not [message for message in caplog.messages if "running the teacher" in message]
    assert stores(ours.data.cache) == before
    assert tiny.equal(tiny.state(tmp_path / "alone" / "out")["model"], tiny.state(ours.out)["model"])


def test_logs_of_several_processes_count_until_they_are_joined(tmp_path: Path) -> None:
    like = tiny.store(tmp_path)
    writers = [DerivedStore(tmp_path, like, "teacher", 1, writer) for writer in ("", "1", "2")]
    for index, writer in enumerate(writers):
        writer.put(index, [like.hr(index)])
        assert writer.missing == [other for other in range(3) if other != index]
    again = DerivedStore(tmp_path, like, "teacher", 1)
    assert not again.missing
    for writer in writers:
        writer.refresh()
        assert not writer.missing
    writers[0].tidy()
    assert [path.name for path in again.folder.glob("*.log")] == ["finished.log"]
    assert not DerivedStore(tmp_path, like, "teacher", 1).missing


def test_a_damaged_image_that_was_made_again_by_another_process_counts(tmp_path: Path) -> None:
    """Its log has another sum than the first one, which is still there."""
    like = tiny.store(tmp_path)
    DerivedStore(tmp_path, like, "teacher", 1).put(0, [like.hr(1)])
    DerivedStore(tmp_path, like, "teacher", 1, "1").put(0, [like.hr(0)])
    again = DerivedStore(tmp_path, like, "teacher", 1)
    assert again.has(0)
    again.tidy()
    (entry,) = (again.folder / "finished.log").read_text().split()
    with again.folder.joinpath("images.u8").open("r+b") as file:
        file.write(b"\0\1")
    assert not DerivedStore(tmp_path, like, "teacher", 1).has(0)
    assert entry.startswith("0:")


def test_recipes_that_would_not_use_the_images_are_refused(tmp_path: Path) -> None:
    usual = recipe(tmp_path)
    live = tiny.exits(usual, teacher_images="live")
    for wrong, naming in (
        (tiny.replaced(usual, method=Plain()), "the method 'none' learns from no teacher"),
        (live, "exits.teacher_images is 'live'"),
        (tiny.replaced(usual, method=Logits(), degrade=Degrade("bsrgan")), r"set degrade\.variants"),
        (tiny.replaced(usual, teacher="absent.pth"), r"absent\.pth"),
    ):
        with pytest.raises(HkdsrError, match=naming):
            label(wrong)
    assert not (tmp_path / "cache").exists()
