"""Every setting there is, with its default: the one page to read before training.

A recipe is a TOML file with these names (``[training] steps = 20000``); each is a flag too
(``--training.steps 20000``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.hkdsr import HKDSR
from hkdsr.settings.choices import (
    HeadKind,
    HeadStart,
    HeadTail,
    Init,
    Precision,
    Stage1Trainable,
    TeacherImages,
    TrainInit,
)
from hkdsr.settings.fields import CONTENT, FREE


@dataclass(frozen=True)
class Data:
    """Images to learn from."""

    train: tuple[Path, ...] = field(default=(), metadata=CONTENT)
    """Folders of HR images: plain, nested, DIV2K or BasicSR shape; LR is made by MATLAB bicubic where missing."""
    lr: tuple[Path, ...] = field(default=(), metadata=CONTENT)
    """Folders of LR images, one for each of ``train``, with the same names inside; by default those that lie beside the
    HR folders in the usual shapes (``HR`` and ``LR``, ``GT`` and ``LQ``, DIV2K, BasicSR) are used, else LR is made."""
    share: float = field(default=1.0, metadata=CONTENT)
    """Train on this share of the images alone, spread evenly over them, to see what more images bring. A share is
    part of every multiple of it."""
    val: Path | None = field(default=None, metadata=FREE)
    """Folder of HR images, never a benchmark, on which the averaged student is scored now and then; the best one is
    ``best.safetensors``, beside the last one, ``student.safetensors``, which is the result."""
    val_images: int = field(default=20, metadata=FREE)
    """Validate on the first this many images of ``val``."""
    patch: int = 48
    """Side of the LR crops in pixels."""
    cache: Path | None = field(default=None, metadata=FREE)
    """Folder for decoded images and the teacher's outputs; by default $HKDSR_CACHE or ~/.cache/hkdsr."""

    def __post_init__(self) -> None:
        _to_paths(self, "train", "lr", "val", "cache")
        _require("data.patch", self.patch, 1)
        _require("data.share", self.share, 0, 1)
        _require("data.val_images", self.val_images, 1)


@dataclass(frozen=True)
class Training:
    """The optimisation, by default that of the paper with a budget for one machine."""

    steps: int = 20_000
    batch: int = 16
    accumulate: int = 1
    """Split every batch into this many parts whose gradients are summed: less memory, and the same result for methods
    that look at one image at a time."""
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    milestones: tuple[float, ...] = (2 / 3,)
    """Shares of ``steps`` after which the learning rate is multiplied by ``gamma`` (the paper: 200k of 300k)."""
    gamma: float = 0.5
    ema: float = 0.999
    """Decay of the averaged weights, which are validated, saved and reported."""
    precision: Precision = "auto"
    """``auto``: bf16 autocast on GPUs that have it, fp32 elsewhere."""
    device: str = field(default="auto", metadata=FREE)
    """``auto``: the first GPU if there is one, else the CPU."""
    threads: int | None = field(default=None, metadata=FREE)
    """CPU threads; by default all. A resumed run is bit-identical only with the same number."""
    seed: int = 10
    minutes: float | None = field(default=None, metadata=FREE)
    """End this session of the training after so many minutes of steps; the same command goes on with the next."""
    log_every: int = field(default=50, metadata=FREE)
    validate_every: int = field(default=2000, metadata=FREE)
    save_every: int = field(default=500, metadata=FREE)
    tensorboard: bool = field(default=False, metadata=FREE)

    def __post_init__(self) -> None:
        for name in ("batch", "accumulate", "threads", "log_every", "validate_every", "save_every"):
            _require(f"training.{name}", getattr(self, name), 1)
        for name in ("steps", "lr", "gamma", "minutes"):
            _require(f"training.{name}", getattr(self, name), 0)
        _require("training.seed", self.seed, 0, 2**31 - 1)
        _require("training.ema", self.ema, 0, 1)
        for share in self.milestones:
            _require("training.milestones", share, 0, 1)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise HkdsrError(f"training.betas is {self.betas}: set both to 0 or more, below 1")


@dataclass(frozen=True)
class ExitSettings:
    """Intermediate outputs, and stage 1: training the teacher's exit heads."""

    student: tuple[float, ...] = (0.3, 0.7)
    """Relative depths of the student's exits; the paper's groups 3 and 7 of 10."""
    teacher: tuple[float, ...] = (0.3, 0.7)
    """Relative depths of the teacher's exits, matched to the student's by position."""
    kind: HeadKind = "separate"
    tail: HeadTail = "auto"
    start: HeadStart = "auto"
    stage1_steps: int = 1000
    stage1_lr: float = 1e-3
    stage1_batch: int = 8
    stage1_trainable: Stage1Trainable = "heads"
    stage1_seed: int = 10
    """Apart from the student's, so that runs with other seeds have the same teacher."""
    stage1_include_final: bool = False
    """Add the final output's L1 to stage 1; only of use with ``stage1_trainable = "all"``."""
    allow_weak: bool = False
    """Go on although an exit of the teacher is no better than bicubic."""
    teacher_images: TeacherImages = "auto"
    """``cached``: the teacher's outputs are computed once per image and kept on disk; ``live``: at every step.
    ``auto``: cached where they fit on the disk."""

    def __post_init__(self) -> None:
        _require("exits.stage1_steps", self.stage1_steps, 0)
        _require("exits.stage1_lr", self.stage1_lr, 0)
        _require("exits.stage1_batch", self.stage1_batch, 1)
        _require("exits.stage1_seed", self.stage1_seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class TrainRecipe:
    """Train a network without a teacher."""

    scale: int = 2
    student: str = "compact:features=32,convs=8"
    """``family:setting=value,...``, or a checkpoint to start from."""
    init: TrainInit = "scratch"
    """``scratch``: as ``student`` says. ``student``: from ``init_from``."""
    init_from: Path | None = field(default=None, metadata=CONTENT)
    """A checkpoint of the same network at another scale, which gives all weights that do not depend on the scale."""
    out: Path = field(default=Path("runs/train"), metadata=FREE)
    """Folder for checkpoints, log and weights; the same command goes on where a killed run stopped."""
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        _to_paths(self, "out", "init_from")
        _require_init_from(self.init, self.init_from)


@dataclass(frozen=True)
class DistillRecipe:
    """Distil a teacher into a student."""

    teacher: str = field(default="", metadata=CONTENT)
    """A checkpoint (ours, a public one, or any that spandrel knows), or the name of a shipped network."""
    scale: int = 2
    student: str = "compact:features=32,convs=8"
    """``family:setting=value,...``, or a checkpoint to start from."""
    init: Init = "scratch"
    """``scratch``: as ``student`` says. ``slice``: the leading channels of the teacher's layers, and evenly spaced ones
    of its blocks where it is deeper. ``drop``: the same between equal widths. ``student``: from ``init_from``."""
    init_from: Path | None = field(default=None, metadata=CONTENT)
    """A checkpoint of the same student at another scale, which gives all weights that do not depend on the scale."""
    out: Path = field(default=Path("runs/distill"), metadata=FREE)
    """Folder for checkpoints, log and weights; the same command goes on where a killed run stopped."""
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=Training)
    exits: ExitSettings = field(default_factory=ExitSettings)
    method: Method = field(default_factory=HKDSR)
    """In TOML, ``[method] name = "hkdsr"`` and the method's own settings; ``name = ["hkdsr", "logits"]`` sums methods,
    whose settings are in ``[method.hkdsr]`` and so on; ``use = "my_method.py:MyKD"`` takes one from a file."""

    def __post_init__(self) -> None:
        _to_paths(self, "out", "init_from")
        _require_init_from(self.init, self.init_from)


def _to_paths(settings: object, *names: str) -> None:
    """Make paths of text, which is what people write in Python; a single folder may stand for several."""
    for name in names:
        value = getattr(settings, name)
        if name in ("train", "lr"):
            value = tuple(map(Path, (value,) if isinstance(value, str | Path) else value))
        elif isinstance(value, str):
            value = Path(value)
        object.__setattr__(settings, name, value)


def _require(name: str, value: float | None, least: float, most: float = float("inf")) -> None:
    if value is not None and not least <= value <= most:
        limits = f"{least} or more" if most == float("inf") else f"a value from {least} to {most}"
        raise HkdsrError(f"{name} is {value}: set it to {limits}")


def _require_init_from(init: Init, init_from: Path | None) -> None:
    if init == "student" and init_from is None:
        raise HkdsrError("init is 'student' but init_from is not set: set it to a checkpoint of the same network")
    if init != "student" and init_from is not None:
        raise HkdsrError(f"init_from is set but init is '{init}': set init to 'student', or leave init_from out")
