"""The job for SLURM: its options are known ones, and its commands run, with stand-ins for those of SLURM."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from conftest import REPOSITORY

from hkdsr.training.sessions import read_sessions

JOB = REPOSITORY / "examples" / "slurm" / "distill.sbatch"
OPTIONS = {
    "job-name": r"\w+",
    "nodes": r"\d+",
    "ntasks-per-node": "1",  # torchrun starts the others
    "gpus-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "time": r"\d\d:\d\d:\d\d",
    "requeue": "",
    "open-mode": "append|truncate",
    "output": r"%x-%j\.log",
}
RECIPE = """
teacher = "teacher.safetensors"
student = "compact:features=4,convs=4"
allow_odd_teacher = true
target = "hr"
out = "out"
[data]
train = "images"
patch = 12
[training]
steps = 4
batch = 4
device = "cpu"
[method]
name = "logits"
"""


def options() -> dict[str, str]:
    """Those that SLURM reads: it stops at the first command."""
    before, _, after = JOB.read_text().partition("\nset -e")
    assert "#SBATCH" not in after
    assert all(line.startswith("#") or not line for line in before.splitlines())
    found = re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", before, re.MULTILINE)
    assert len(found) == before.count("#SBATCH")
    return dict(found)


def test_slurm_knows_the_options() -> None:
    found = options()
    assert set(found) == set(OPTIONS)
    for name, value in found.items():
        assert re.fullmatch(OPTIONS[name], value), name


def test_a_session_ends_before_the_job_does() -> None:
    hours, minutes, _ = map(int, options()["time"].split(":"))
    (session,) = re.findall(r"--training\.minutes (\d+)", JOB.read_text())
    assert 10 <= 60 * hours + minutes - int(session) <= 30


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_job_distils(tmp_path: Path) -> None:
    tiny.photographs(tmp_path / "images")
    tiny.teacher(tmp_path / "teacher.safetensors")
    (tmp_path / "mine.toml").write_text(RECIPE)
    torchrun = f'exec {sys.executable} -m torch.distributed.run "$@"'
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, code in (
        ("activate", ""),
        ("scontrol", '[ "$*" = "show hostnames n[1-2]" ] && echo 127.0.0.1 && echo n2'),
        ("srun", '[ "$1" = --kill-on-bad-exit=1 ] && shift && exec "$@"'),
        ("torchrun", torchrun.replace('"$@"', f'"${{@/:29500/:{port}}}"')),
    ):
        file = tmp_path / ".venv" / "bin" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/bash\n{code}\n")
        file.chmod(0o755)
    slurm = {
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_JOB_ID": "7",
        "SLURM_NNODES": "1",
        "SLURM_GPUS_ON_NODE": "2",
        "SLURM_CPUS_PER_TASK": "2",
        "PATH": f"{tmp_path}/.venv/bin:{os.environ['PATH']}",
    }
    env = {name: value for name, value in os.environ.items() if name != "HKDSR_CACHE"} | slurm
    done = subprocess.run(["bash", JOB, "mine.toml"], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (session,) = read_sessions(tmp_path / "out")
    assert (session["processes"], session["to_step"]) == (2, 4)
    assert (tmp_path / "out" / "student.safetensors").is_file()
    assert len(list((tmp_path / "cache").glob("derived-*"))) == 1
