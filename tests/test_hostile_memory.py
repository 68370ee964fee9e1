"""Memory that runs out ends in a sentence with a remedy; what a file says of itself costs no memory; none is leaked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RUNS_OUT = (
    *("evaluate", "strip", "upscale", "distill", "train", "validation"),
    *("decoding", "store", "checkpoint"),
)

GROWTH = """
import ctypes, random, sys
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
import hkdsr
from limited import status
torch.set_num_threads(1)
network = hkdsr.load("small_x2")
sizes = random.Random(0)
taken = []
for index in range(360):
    hkdsr.upscale(network, np.zeros((sizes.randrange(20, 70), sizes.randrange(20, 70), 3), np.uint8))
    if index % 120 == 119:
        ctypes.CDLL(None).malloc_trim(0)
        taken.append(status("VmRSS"))
print(*taken)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    command = [sys.executable, HERE / "hungry.py", tmp_path_factory.mktemp("hungry")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("work", RUNS_OUT)
def test_memory_that_runs_out_is_named(work: str, outcomes: dict[str, str]) -> None:
    assert outcomes[work].startswith("refused: ")
    assert "memory" in outcomes[work]


@pytest.mark.parametrize("what", ["width", "depth", "number"])
def test_what_a_checkpoint_says_of_itself_is_compared_with_its_shapes_first(
    what: str, outcomes: dict[str, str]
) -> None:
    assert outcomes[f"declared {what}"].startswith("refused: ")
    assert "declared.safetensors" in outcomes[f"declared {what}"]


def test_a_deep_recipe_takes_neither_time_nor_memory(outcomes: dict[str, str]) -> None:
    assert outcomes["recipe"].startswith("refused: ")
    assert "deep.toml" in outcomes["recipe"]


def test_images_of_ever_other_sizes_do_not_take_ever_more_memory() -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH, HERE], capture_output=True, text=True, timeout=300, check=True)
    first, _, last = map(int, done.stdout.split())
    assert last - first <= 15, f"MB after 120, 240 and 360 images: {done.stdout}"
