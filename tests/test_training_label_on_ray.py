"""``hkdsr label --ray``: the workers of a local Ray leave the same stores as one process, also when one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny
from test_training_label import COUNT, arguments, entries, folder, recipe, stores, whole

from hkdsr.errors import HkdsrError
from hkdsr.methods import Plain
from hkdsr.training.label import label
from hkdsr.training.label_on_ray import Task

__all__ = ["folder", "whole"]  # fixtures

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'hkdsr[ray]'")

# Ray with two workers wherever it runs; a thread kills one of them, a grandchild of this process, in its work.
DRIVER = """
import os, signal, sys, threading, time
from pathlib import Path
import ray
from hkdsr.cli.label import run
from hkdsr.cli.output import configure

cache = Path(sys.argv[1])
ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False, object_store_memory=80 << 20)

def parent(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])

def workers():
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            if title.startswith(b"ray::Worker") and parent(parent(folder.name)) == os.getpid():
                yield int(folder.name)
        except OSError:
            pass

def kill_one():
    made = 0
    while made < 20:
        time.sleep(0.002)
        made = sum(path.read_bytes().count(b".") for path in cache.glob("derived-*/finished-ray-*.log"))
    os.kill(next(workers()), signal.SIGKILL)
    print("killed after", made, flush=True)

threading.Thread(target=kill_one, daemon=True).start()
run(configure(sys.argv[2:]))
"""


@needs_ray
def test_two_workers_of_which_one_is_killed(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    words = arguments(folder, tmp_path)[3:]
    command = [sys.executable, "-c", DRIVER, str(tmp_path), *words, "--ray", "auto"]
    # Ray's workers are nice to other processes, and would wait long for the CPU among tests.
    env = {**os.environ, "RAY_worker_niceness": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"images of the teacher for {COUNT} training images, {COUNT} of them made now" in done.stdout
    (made,) = (int(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("killed after"))
    assert 20 <= made < 2 * COUNT - 20
    assert "shared by 2 processes" in done.stderr
    assert not entries(tmp_path, "finished-*.log")
    assert stores(tmp_path) == whole


@needs_ray
def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr("ray.init", nobody)  # which tries for a minute
    with pytest.raises(HkdsrError, match=r"no Ray cluster at '10\.0\.0\.9:1' .*: start one with ray start --head"):
        label(recipe(tmp_path), "10.0.0.9:1")


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match=r"--ray is given but ray is missing: pip install 'hkdsr\[ray\]'"):
        label(recipe(tmp_path), "auto")


def test_workers_get_absolute_paths_and_no_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    usual = tiny.data(recipe(tmp_path), cache=Path("cache"))
    Path("net.py").touch()
    for given, absolute in (
        ("net.py:Net:features=3", f"{tmp_path}/net.py:Net:features=3"),
        ("compact_x2", "compact_x2"),
        (Path("teacher.safetensors"), f"{tmp_path}/teacher.safetensors"),
    ):
        task = Task.of(tiny.replaced(usual, teacher=given), True, Path("cache/images-1"), is_target=False)
        assert task.recipe.teacher == absolute
    assert task.recipe.data.cache == tmp_path / "cache"
    assert task.decoded == tmp_path / "cache" / "images-1"
    assert isinstance(task.recipe.method, Plain)
