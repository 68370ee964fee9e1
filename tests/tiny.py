"""Trainings that take a second: small photographs, a small teacher, and recipes over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from hkdsr.data import rgb
from hkdsr.data.crops import CropSampler
from hkdsr.data.embedded import demo_files
from hkdsr.data.sources import find_pairs
from hkdsr.data.store import ImageStore, build_store
from hkdsr.deploy.enlarge_file import Handling
from hkdsr.methods import Method, Plain
from hkdsr.nets.exits import Outputs
from hkdsr.nets.families.compact import Compact
from hkdsr.nets.files.load import build, save
from hkdsr.settings.recipe import Data, DistillRecipe, ExitSettings, Training
from hkdsr.training.context import opened
from hkdsr.training.distiller import Distiller
from hkdsr.training.fit import Fitted
from hkdsr.training.fit import fit as fit_in_context
from hkdsr.training.log import read_log

STUDENT = "compact:features=4,convs=4"
TEACHER = "edsr:features=6,blocks=4"
UNTRAINED = ("--allow-odd-teacher", "--target", "hr", "--exits.allow-weak")
"""Flags for a teacher of random weights."""
QUIET = Handling(progress=False)


class Killed(BaseException):
    """Simulates a kill in the middle of a run."""


@dataclasses.dataclass(frozen=True)
class KilledAt:
    """Observes a run and ends it before ``step``."""

    step: int

    def begin(self, module: Distiller, stored: ImageStore | None) -> None:
        pass

    def before_step(self, step: int) -> None:
        if step == self.step:
            raise Killed


def photographs(folder: Path, count: int = 3, height: int = 56, width: int = 66) -> Path:
    """A folder with ``count`` crops of real photographs."""
    folder.mkdir(parents=True)
    sources = [rgb(path) for path in demo_files()[0].values()]
    for index in range(count):
        top, left = 90 + 6 * index, 120 + 8 * index
        cut = sources[index % len(sources)][top : top + height, left : left + width]
        Image.fromarray(cut).save(folder / f"{index:02}.png")
    return folder


def store(folder: Path, scale: int = 2, count: int = 3, height: int = 56, width: int = 66) -> ImageStore:
    """A store of these photographs."""
    images = photographs(folder / "images", count, height, width)
    return build_store(find_pairs(images, scale), scale, folder / "cache", workers=1)


def teacher(path: Path, description: str = TEACHER, scale: int = 2) -> Path:
    """A teacher's file, always the same."""
    torch.manual_seed(1)
    save(build(description, scale), path)
    return path


def nearest(scale: int) -> Compact:
    """A network that repeats every pixel."""
    network = Compact(scale, features=4, convs=3)
    last = network.body[-1]
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)
    return network.eval()


def recipe(folder: Path, method: Method | None = None, **training: Any) -> DistillRecipe:
    """A recipe of 12 steps with files in ``folder``, which are made if they are missing."""
    if not (folder / "images").exists():
        photographs(folder / "images")
    if not (folder / "teacher.safetensors").exists():
        teacher(folder / "teacher.safetensors")
    settings = Training(steps=12, batch=3, lr=1e-3, ema=0.9, log_every=1, save_every=5, device="cpu", seed=3)
    return DistillRecipe(
        teacher=str(folder / "teacher.safetensors"),
        student=STUDENT,
        out=folder / "out",
        data=Data(train=(folder / "images",), patch=12, cache=folder / "cache"),
        training=dataclasses.replace(settings, **training),
        exits=ExitSettings(stage1_steps=12, stage1_batch=3, allow_weak=True),
        method=method or Plain(),
        target="hr",
        allow_odd_teacher=True,  # its weights are random
    )


def state(out: Path) -> dict[str, Any]:
    """The content of ``last.pt``."""
    return torch.load(out / "last.pt", weights_only=True)


def equal(a: Any, b: Any) -> bool:
    """Whether two states are bit-identical."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def losses(out: Path) -> list[tuple[Any, ...]]:
    """The log without the seconds."""
    return [(line["step"], line.get("lr"), line.get("losses"), line.get("val_psnr_y")) for line in read_log(out)]


def fit(
    module: nn.Module, sampler: CropSampler, training: Training, folder: Path, origin: str = "", **more: Any
) -> Fitted:
    """Train a module in ``folder``, with one setting that must stay when it is continued."""
    with opened(folder, training, {"origin": origin}, "training") as context:
        return fit_in_context(module, sampler, context, **more)


@dataclasses.dataclass
class Scores:
    """A validation whose score is that of a function."""

    of: Callable[[nn.Module], float]
    key: str = ""
    measure: str = "val_psnr_y"

    def score(self, module: nn.Module, step: int) -> dict[str, float]:
        return {self.measure: self.of(module)}


class Toy(nn.Module):
    """A module with two loss terms, without a method: the training loop needs none."""

    def __init__(self, breaks_at: int = -1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.breaks_at, self.calls = breaks_at, 0

    def forward(self, lr: Tensor, hr: Tensor, teacher: Outputs | None) -> dict[str, Tensor]:
        self.calls += 1
        error = nn.functional.pixel_shuffle(self.conv(lr), 2) - hr
        broken = float("nan") if self.calls == self.breaks_at else 1.0
        return {"whole": error.abs().mean(), "square": broken * error.square().mean()}


def settings(**changed: Any) -> Training:
    """Six steps with a batch of 5, all logged, every second one saved; in fp32, so that all machines give the same."""
    return dataclasses.replace(
        Training(steps=6, lr=1e-2, ema=0.8, device="cpu", precision="fp32", log_every=1, save_every=2, batch=5),
        **changed,
    )


def exits(recipe: DistillRecipe, **changed: Any) -> DistillRecipe:
    """The recipe with other settings of its exits."""
    return dataclasses.replace(recipe, exits=dataclasses.replace(recipe.exits, **changed))


def data(recipe: DistillRecipe, **changed: Any) -> DistillRecipe:
    """The recipe with other settings of its images."""
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **changed))


def metadata(weights: Path) -> dict[str, str]:
    """The metadata of a file of weights."""
    with safe_open(weights, "pt") as file:
        return file.metadata()


def replaced(recipe: DistillRecipe, **changed: Any) -> DistillRecipe:
    """The recipe with other settings of its own."""
    return dataclasses.replace(recipe, **changed)
