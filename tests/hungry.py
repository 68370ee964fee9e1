"""Every kind of work where memory can run out, each in a child of this process: ``python hungry.py FOLDER``.

Prints one JSON object with the outcome of each. A process of its own, as a test run has threads and cannot be forked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hostile import command
from limited import outcome, status
from PIL import Image
from safetensors.torch import save_file

import hkdsr
from hkdsr.data import read_image
from hkdsr.data.sources import find_pairs
from hkdsr.data.store import build_store
from hkdsr.errors import HkdsrError
from hkdsr.nets.files.load import build
from hkdsr.settings.recipe import TrainRecipe
from hkdsr.settings.toml import read_recipe

WIDE = "compact:features=256,convs=1"
SMALL = "compact:features=4,convs=1"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name, side in (("big", 1000), ("huge", 5000)):
        (folder / name).mkdir()
        shade = np.broadcast_to(np.arange(side, dtype=np.uint8)[:, None], (side, side))
        Image.fromarray(shade).convert("RGB").save(folder / name / "1.png", compress_level=1)
    (folder / "tiny").mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "tiny" / "1.png")
    torch.save({"body.0.weight": torch.zeros(40, 1 << 20)}, folder / "large.pth")
    hkdsr.save(build(WIDE, 2), folder / "wide.safetensors")
    build_store(find_pairs(folder / "big", 2), 2, folder / "cache", progress=False)
    found = {name: outcome(work, room, seconds=8) for name, (room, work) in scenarios(folder).items()}
    sys.stdout.write(json.dumps(found))


def scenarios(folder: Path) -> dict[str, tuple[int, Callable[[], object]]]:
    """By name: MB of memory, and the work that needs more."""
    wide, big, huge = folder / "wide.safetensors", folder / "big", folder / "huge"
    return {
        "evaluate": (150, lambda: hkdsr.evaluate(wide, "big", folder)),
        "strip": (150, lambda: run("strip", big / "1.png", wide, "-o", folder / "strip.png")),
        "upscale": (100, lambda: hkdsr.upscale(hkdsr.load(wide), np.zeros((900, 900, 3), np.uint8))),
        "distill": (
            250,
            lambda: run("distill", "--teacher", wide, "--method.name", "logits", *training(folder, "big")),
        ),
        "train": (150, lambda: run("train", *training(folder, "big", student=WIDE, patch=192))),
        "validation": (150, lambda: run("train", *training(folder, "tiny", student=WIDE), "--data.val", big)),
        "decoding": (80, lambda: read_image(huge / "1.png")),
        "store": (200, lambda: build_store(find_pairs(huge, 2), 2, folder / "cache", progress=False)),
        "checkpoint": (60, lambda: hkdsr.load(folder / "large.pth")),
        "recipe": (300, lambda: read_recipe(deep_recipe(folder), TrainRecipe)),
        "declared width": (4000, lambda: declared(folder, "compact", {"scale": 2, "features": 1500, "convs": 2})),
        "declared depth": (4000, lambda: declared(folder, "edsr", {"scale": 2, "features": 1, "blocks": 10**6})),
        "declared number": (4000, lambda: declared(folder, "compact", {"scale": 2, "features": 10**30, "convs": 1})),
    }


def run(*arguments: str | Path) -> None:
    ended = command(*arguments)
    if ended.code:
        raise HkdsrError(ended.said.strip())


def training(folder: Path, images: str, student: str = SMALL, patch: int = 8) -> list[str | Path]:
    folders = (
        "--data.train",
        folder / images,
        "--data.cache",
        folder / "cache",
        "--out",
        folder / f"out {student} {patch}",
    )
    steps = ("--training.steps", "1", "--training.batch", "1", "--training.validate-every", "1")
    return [*folders, *steps, "--training.device", "cpu", "--student", student, "--data.patch", str(patch)]


def deep_recipe(folder: Path) -> Path:
    path = folder / "deep.toml"
    path.write_text(".".join(["a"] * 30_000) + " = 1")
    return path


def declared(folder: Path, family: str, settings: dict[str, int]) -> None:
    """A file of a few bytes that says of itself that it is a large network. It must not be believed."""
    path, before = folder / "declared.safetensors", status("VmPeak")
    save_file({"body.0.weight": torch.zeros(4, 3, 3, 3)}, path, {"family": family, "settings": json.dumps(settings)})
    try:
        hkdsr.load(path)
    finally:
        if status("VmPeak") - before > 50:
            raise AssertionError(f"took {status('VmPeak') - before} MB before the shapes were compared")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
