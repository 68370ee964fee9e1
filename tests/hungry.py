"""Work for which memory runs out, each in a child with little of it: ``python hungry.py FOLDER SCENARIO ...``.

Work that must get through is done once on a tiny image first, so that the room is for the image and not for what
libraries compile and load at their first call.

Prints one JSON object with the outcome of each. A process of its own, as a test run has threads and cannot be forked.
"""

from __future__ import annotations

import json
import pkgutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from hostile import command, heard
from limited import outcome
from PIL import Image
from safetensors.torch import save_file

import hkdsr
from hkdsr.data import read_image
from hkdsr.data.sources import find_pairs
from hkdsr.data.store import build_store
from hkdsr.deploy.enlarge_file import Handling
from hkdsr.deploy.upscale_files import upscale_file
from hkdsr.errors import HkdsrError
from hkdsr.nets.files.load import build
from hkdsr.training.checkpoint import read_checkpoint

WIDE = "compact:features=128,convs=1"
SMALL = "compact:features=4,convs=1"
SIDE = 800
"""Of HR in pixels: LR features of the wide network then take 82 MB a layer."""
ROOM = 130
"""MB: less than two layers of the whole image, more than all that a tile and its image take."""


def evaluation(folder: Path) -> None:
    wide = wide_network(folder)
    (whole,) = hkdsr.evaluate(wide, "big", folder)

    def work() -> None:
        (tiled,) = hkdsr.evaluate(wide, "big", folder)
        assert abs(tiled.psnr_y - whole.psnr_y) < 1e-4, (tiled, whole)
        assert abs(tiled.ssim_y - whole.ssim_y) < 1e-6, (tiled, whole)

    report("evaluation", ROOM, in_tiles(work))


def evaluation_of_the_whole(folder: Path) -> None:
    # 77 MB for each of three layers of 1100 pixels, and a quarter of that for the image on which its reach is measured.
    network = build("rcan:groups=2,blocks=1,features=16,reduction=4", 2).eval()
    shaded(folder / "bigger", 1100)
    hkdsr.evaluate(network, "tiny", folder)
    report("evaluation_of_the_whole", ROOM, lambda: hkdsr.evaluate(network, "bigger", folder))


def strip(folder: Path) -> None:
    def draw(images: str) -> None:
        run("strip", folder / images / "1.png", wide_network(folder), "-o", folder / f"{images}.png")

    draw("tiny")
    report("strip", ROOM, in_tiles(lambda: draw("big")))


def upscaling(folder: Path) -> None:
    wide, lr = hkdsr.load(wide_network(folder)), np.zeros((SIDE // 2, SIDE // 2, 3), np.uint8)
    report("upscaling", ROOM, in_tiles(lambda: hkdsr.upscale(wide, lr, "auto")))
    report("upscaling_the_whole", ROOM, lambda: hkdsr.upscale(wide, lr))


def streaming(folder: Path) -> None:
    # 108 MB of pixels, and as much again to write them as a whole.
    import_module("pyvips")
    network, source = build(SMALL, 2).eval(), shaded(folder / "large", 3000) / "1.png"
    for name, stream_from in (("streaming", 0), ("as_a_whole", 1000)):
        handling = Handling(tile=256, stream_from=stream_from, progress=False)
        target = folder / f"{name}.png"
        report(name, ROOM, lambda target=target, handling=handling: upscale_file(network, source, target, handling))


def distillation(folder: Path) -> None:
    method = ("--teacher", wide_network(folder), "--method.name", "logits", "--exits.teacher-images", "cached")
    run("distill", *method, *training(folder, "tiny"), "--out", folder / "warm")
    report("distillation", ROOM, in_tiles(lambda: run("distill", *method, *training(folder, "big"))))


def training_step(folder: Path) -> None:
    # 75 MB for every layer, forward and backward.
    words = training(folder, "big", student=WIDE, patch=190, batch=4)
    report("training_step", ROOM, lambda: run("train", *words))
    print(f"left: {sorted(path.name for path in (folder / 'out').iterdir())}", file=sys.stderr)


def validation(folder: Path) -> None:
    words = ("train", *training(folder, "tiny", student=WIDE), "--data.val")
    run(*words, folder / "tiny", "--out", folder / "warm")
    report("validation", ROOM, in_tiles(lambda: run(*words, folder / "big")))


def decoding(folder: Path) -> None:
    huge = huge_images(folder)
    report("decoding", 60, lambda: read_image(huge / "1.png"))
    report("storing", 60, lambda: build_store(find_pairs(huge, 2), 2, folder / "new", workers=1, progress=False))
    print(f"left: {sorted(path.name for path in (folder / 'new').glob('*'))}", file=sys.stderr)


def stored_images(folder: Path) -> None:
    pairs = find_pairs(huge_images(folder), 2)
    kept = build_store(pairs, 2, folder / "cache", progress=False).folder
    report("stored_images", 40, lambda: build_store(pairs, 2, folder / "cache", workers=1, progress=False))
    print(f"left: {sorted(path.name for path in kept.iterdir())}", file=sys.stderr)


def checkpoints(folder: Path) -> None:
    weights = {"body.0.weight": torch.zeros(40, 1 << 20)}
    torch.save(weights, folder / "large.pth")
    torch.save(weights, folder / "last.pt")
    save_file(weights, folder / "large.safetensors")
    report("pickled", 60, lambda: hkdsr.load(folder / "large.pth"))
    report("safetensors", 60, lambda: hkdsr.load(folder / "large.safetensors"))
    report("checkpoint", 60, lambda: read_checkpoint(folder / "last.pt", None))


def in_tiles(work: Callable[[], object]) -> Callable[[], object]:
    """``work``, which must say that it went on in tiles."""

    def checked() -> None:
        with heard() as notes:
            work()
        assert any("does not fit into memory: it is tried in tiles" in note for note in notes), notes

    return checked


def run(*words: str | Path) -> None:
    ended = command(*words)
    if ended.code:
        raise HkdsrError(next(line for line in ended.said.splitlines() if line.startswith(f"hkdsr {words[0]}: ")))


def training(folder: Path, images: str, student: str = SMALL, patch: int = 8, batch: int = 1) -> tuple[str | Path, ...]:
    places = ("--data.train", folder / images, "--data.cache", folder / "cache", "--out", folder / "out")
    steps = ("--training.steps", "1", "--training.batch", str(batch), "--training.validate-every", "1")
    return (*places, *steps, "--training.device", "cpu", "--student", student, "--data.patch", str(patch))


def import_everything() -> None:
    """The memory is not meant for imports, of which optimisers do many at their first step."""
    for module in pkgutil.walk_packages(hkdsr.__path__, "hkdsr."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    torch.optim.Adam([weight]).step()


def wide_network(folder: Path) -> Path:
    hkdsr.save(build(WIDE, 2), folder / "wide.safetensors")
    return folder / "wide.safetensors"


def huge_images(folder: Path) -> Path:
    """75 MB when decoded."""
    return shaded(folder / "huge", 5000)


def shaded(folder: Path, side: int) -> Path:
    folder.mkdir(exist_ok=True)
    shade = np.broadcast_to((np.arange(side) % 251).astype(np.uint8)[:, None], (side, side))
    Image.fromarray(shade).convert("RGB").save(folder / "1.png", compress_level=1)
    return folder


def report(name: str, room: int, work: Callable[[], object]) -> None:
    found[name] = outcome(work, room, seconds=120)


found: dict[str, str] = {}

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    import_everything()
    place = Path(sys.argv[1])
    shaded(place / "big", SIDE)
    shaded(place / "tiny", 64)
    for scenario in sys.argv[2:]:
        globals()[scenario](place)
    print(json.dumps(found))
