"""The images that a report shows and scores: HR with LR, or LR alone with the teacher's images in place of HR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hkdsr.data import rgb
from hkdsr.data.images import image_files
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.paths import exists, is_folder
from hkdsr.scoring import protocol
from hkdsr.scoring.benchmark import Benchmark, find_benchmark
from hkdsr.scoring.inference import upscaled
from hkdsr.scoring.metrics import WINDOW

HR, TEACHER = "HR", "teacher"


@dataclass(frozen=True)
class Scene:
    """An image file; ``pair`` gives LR (h, w, 3) and what networks are compared with (H, W, 3), both uint8 RGB."""

    path: Path
    pair: Callable[[], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Scenes:
    """``reference`` names what networks are compared with: HR or the teacher; ``protocol`` is that of the scores."""

    scenes: Sequence[Scene]
    reference: str
    protocol: str


def hr_scenes(images: Sequence[Path], scale: int) -> Scenes:
    """The HR images of files and folders, with LR beside them or made from them.

    Raises HkdsrError for images that are missing; ``pair`` as ``Benchmark.pair`` does.
    """
    _require(images, "HR")
    benchmarks = [
        find_benchmark(path, scale) if is_folder(path) else Benchmark(path.name, path.parent, scale, (path,), None)
        for path in images
    ]
    sources = dict.fromkeys(protocol(scale, lr_source=benchmark.lr_source) for benchmark in benchmarks)
    scenes = [Scene(path, partial(b.pair, index)) for b in benchmarks for index, path in enumerate(b.hr)]
    return Scenes(scenes, HR, " / ".join(sources))


def lr_scenes(images: Sequence[Path], teacher: Network) -> Scenes:
    """The images of files and folders as LR, to be compared with those of ``teacher``.

    Raises HkdsrError for images that are missing; ``pair`` for those that cannot be read or are too small to score.
    """
    _require(images, "LR")
    files = [file for path in images for file in (image_files(path) if is_folder(path) else [path])]
    if not files:
        raise HkdsrError(f"{images[0]} has no image: name LR images or folders of them")

    def pair(path: Path) -> tuple[np.ndarray, np.ndarray]:
        lr, scale = rgb(path), teacher.scale
        if scale * min(lr.shape[:2]) < WINDOW + 2 * scale:
            raise HkdsrError(f"{path} is too small to score at x{scale}: leave it out")
        return lr, upscaled(teacher, lr, scale, name=path)

    said = protocol(teacher.scale, lr_source=str(files[0].parent), against=teacher)
    return Scenes([Scene(path, partial(pair, path)) for path in files], TEACHER, said)


def _require(images: Sequence[Path], kind: str) -> None:
    for path in images:
        if not exists(path):
            raise HkdsrError(f"there is no image or folder {path}: name {kind} images or folders of them")
