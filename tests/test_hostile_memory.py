"""Memory that runs out: whole images go on in tiles, everything else ends in a sentence; nothing is half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent

Hungry = Callable[[str], tuple[dict[str, str], str]]


@pytest.fixture
def hungry(tmp_path: Path) -> Hungry:
    """Runs a scenario of ``hungry.py``: its outcomes by name, and what it printed on the way."""

    def run(scenario: str) -> tuple[dict[str, str], str]:
        command = [sys.executable, HERE / "hungry.py", tmp_path, scenario]
        # Each thread would reserve an arena of 64 MB of addresses, which the limit counts, at times of its own choice.
        environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    return run


@pytest.mark.parametrize("scenario", ["evaluation", "strip", "distillation", "validation"])
def test_images_that_do_not_fit_go_on_in_tiles(scenario: str, hungry: Hungry) -> None:
    """Of ``evaluate`` with the scores of the whole image."""
    outcomes, _ = hungry(scenario)
    assert outcomes == {scenario: "result"}


def test_upscale_goes_on_in_tiles_where_it_may(hungry: Hungry) -> None:
    outcomes, _ = hungry("upscaling")
    assert outcomes["upscaling"] == "result"
    assert outcomes["upscaling_the_whole"].startswith("refused: the image: tiles of 400 pixels do not fit")
    assert outcomes["upscaling_the_whole"].endswith(": set tile to 'auto' or to a smaller number")


def test_upscale_by_strips_takes_less_than_its_result(hungry: Hungry) -> None:
    pytest.importorskip("pyvips")
    outcomes, _ = hungry("streaming")
    assert outcomes["streaming"] == "result"
    assert outcomes["as_a_whole"].startswith("refused: ")
    assert "does not fit into memory: cut" in outcomes["as_a_whole"]


def test_no_other_image_is_scored_in_place_of_the_whole(hungry: Hungry) -> None:
    said = hungry("evaluation_of_the_whole")[0]["evaluation_of_the_whole"]
    assert said.startswith("refused: ")
    assert "1.png does not fit into memory as a whole, and the rcan network sees the whole image at once" in said
    assert said.endswith(": cut it into smaller images, or free memory")


def test_a_step_that_does_not_fit_names_the_settings(hungry: Hungry) -> None:
    outcomes, printed = hungry("training_step")
    assert outcomes["training_step"].startswith("refused: hkdsr train: ")
    assert "/out does not fit into memory: lower training.batch or data.patch" in outcomes["training_step"]
    assert "student.safetensors" not in printed
    assert ".part" not in printed


def test_images_that_cannot_be_decoded_are_named_and_nothing_stays(hungry: Hungry) -> None:
    outcomes, printed = hungry("decoding")
    for said in outcomes.values():
        assert said.startswith("refused: ")
        assert "1.png does not fit into memory: " in said
    assert len(outcomes) == 2
    assert "left: ['.lock']" in printed


def test_stored_images_outlast_a_lack_of_memory(hungry: Hungry) -> None:
    outcomes, printed = hungry("stored_images")
    assert outcomes["stored_images"].startswith("refused: ")
    assert "do not fit into memory" in outcomes["stored_images"]
    assert "left: ['hr.u8', 'index.json', 'lr.u8', 'sums.json']" in printed


def test_checkpoints_that_do_not_fit_are_not_called_damaged(hungry: Hungry) -> None:
    outcomes, _ = hungry("checkpoints")
    for name, file in (("pickled", "large.pth"), ("safetensors", "large.safetensors"), ("checkpoint", "last.pt")):
        assert outcomes[name].startswith("refused: ")
        assert f"{file} does not fit into memory: free memory" in outcomes[name]


GROWTH = """
import ctypes, random, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import hkdsr, torch
from limited import status
torch.set_num_threads(1)
network = hkdsr.load("small_x2")
sizes = random.Random(0)
taken = []
for index in range(350):
    hkdsr.upscale(network, np.zeros((sizes.randrange(16, 44), sizes.randrange(16, 44), 3), np.uint8))
    if index in (49, 349):
        ctypes.CDLL(None).malloc_trim(0)
        taken.append(status("VmRSS"))
print(*taken)
"""


def test_images_of_ever_other_sizes_do_not_take_ever_more_memory() -> None:
    ours = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"}
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "-c", GROWTH, HERE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, env=clean)
    first, last = map(int, done.stdout.split())
    assert last - first <= 16, f"MB after 50 and after 350 images: {done.stdout}"
