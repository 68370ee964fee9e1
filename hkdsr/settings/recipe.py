"""Every setting of a recipe, with its default and its meaning: the one page to read before training.

In a TOML file, settings have these names (``[training] steps = 20000``); each is a flag too
(``--training.steps 20000``). The settings of a method are in its file in ``hkdsr/methods``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.hkdsr import HKDSR
from hkdsr.paths import user_path
from hkdsr.settings.checks import require_range, require_trained_scale
from hkdsr.settings.choices import (
    Compile,
    Init,
    MethodFade,
    Precision,
    Schedule,
    Target,
    TrainInit,
)
from hkdsr.settings.degrade import Degrade
from hkdsr.settings.exits import ExitSettings
from hkdsr.settings.fields import CONTENT, FREE, accept_single_values, split_commas
from hkdsr.settings.student_budget import listed_students, require_budget

if TYPE_CHECKING:
    NetworkName = Any  # in Python a network or module too
else:
    NetworkName = str  # the type for the command line, which does not import torch


@dataclass(frozen=True)
class Data:
    """Training and validation images."""

    train: tuple[Path, ...] = field(default=(), metadata=CONTENT)
    """Folders of HR training images: flat, nested, or in the layout of DIV2K or BasicSR. A single folder needs no
    list. Missing LR images are made by MATLAB's bicubic reduction."""
    lr: tuple[Path, ...] = field(default=(), metadata=CONTENT)
    """Folders of LR images, one for each folder of ``train``, with the same files. By default LR folders beside the
    HR folders are used if they follow a known layout (``HR`` and ``LR``, ``GT`` and ``LQ``, DIV2K, BasicSR)."""
    lr_only: bool = field(default=False, metadata=CONTENT)
    """The images of ``train`` and ``val`` are LR, of any kind and size, and there is no HR: the teacher's image takes
    its place."""
    share: float = field(default=1.0, metadata=CONTENT)
    """Share of the training images to use, above 0 and at most 1, spread evenly over all of them. It shows how much
    more images improve the result. The images of a share are among those of every multiple of it."""
    val: Path | None = field(default=None, metadata=FREE)
    """Folder of HR validation images (LR with ``lr_only``), never a benchmark set. The averaged student is scored on
    them every ``training.validate_every`` steps. The best one is saved as ``best.safetensors``; the result is the last
    one, ``student.safetensors``."""
    val_images: int = field(default=20, metadata=FREE)
    """Number of images of ``val`` to use: the first ones, by name."""
    val_kept: int | None = field(default=None, metadata=FREE)
    """Number of images of ``val`` that are kept to look at, as PNG files in ``out/validation``: those of the student at
    the last 8 validations, of the teacher, and HR; of large images the middle. By default 2, in a study none."""
    patch: int = 48
    """Side of the square LR crops in pixels; HR crops are ``scale`` times as large."""
    cache: Path | None = field(default=None, metadata=FREE)
    """Folder for decoded images, the teacher's exit heads and its outputs; by default $HKDSR_CACHE, or ~/.cache/hkdsr
    if that is not set."""

    def __post_init__(self) -> None:
        accept_single_values(self)
        _to_paths(self, "train", "lr", "val", "cache")
        require_range("data.patch", self.patch, 1)
        require_range("data.share", self.share, 0, 1)
        require_range("data.val_images", self.val_images, 1)
        require_range("data.val_kept", self.val_kept, 0)
        if self.lr_only and self.lr:
            raise HkdsrError("data.lr_only and data.lr are set, but data.train has the LR images: leave out data.lr")


@dataclass(frozen=True)
class Training:
    """The optimisation by Adam: the paper's settings, with fewer steps, for one machine."""

    steps: int = 20_000
    """Training steps, which are updates of the weights. To continue a run that has ended, raise them."""
    batch: int = 16
    """Crops per step, over all processes."""
    accumulate: int = 1
    """Parts that each batch is split into; their gradients are summed. More parts need less memory. The result is the
    same, except for methods that compare the images of a batch with one another."""
    lr: float = 1e-4
    """Learning rate of Adam at the first step."""
    schedule: Schedule = "milestones"
    """How the learning rate falls. ``milestones``: by ``gamma`` at each of ``milestones``. ``cosine``: along half a
    cosine, from ``lr`` to zero at the last step."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates of Adam's running means, of the gradient and of its square, each from 0 to below 1."""
    milestones: tuple[float, ...] = (2 / 3,)
    """Shares of ``steps`` after which the learning rate is multiplied by ``gamma`` (the paper: 200k of 300k steps).
    ``steps`` and ``milestones`` may be changed when a run is continued; the further steps follow the new values."""
    gamma: float = 0.5
    """Factor of the learning rate at each of ``milestones``."""
    ema: float = 0.999
    """Decay, from 0 to 1, of the exponential moving average of the weights. The averaged weights are validated, saved
    and reported."""
    reparameterise: bool = False
    """Train each 3x3 convolution of the student as a chain of three and one beside it; the files hold plain ones. A
    step takes longer on small crops, as the chains are multiplied out in each."""
    precision: Precision = "auto"
    """Number format of the networks; losses are always computed in fp32. ``fp32``: single precision. ``bf16``: autocast
    to bfloat16. ``auto``: ``bf16`` on GPUs and CPUs that compute in it, else ``fp32``."""
    device: str = field(default="auto", metadata=FREE)
    """``auto``: the first GPU if there is one, else the CPU. Else a device of PyTorch, as ``cpu`` or ``cuda:1``."""
    threads: int | None = field(default=None, metadata=FREE)
    """CPU threads; by default as PyTorch chooses. A continued run is bit-identical only with the same number."""
    seed: int = 10
    """Seed of the student's first weights, of the crops and of all random choices, from 0 to 2^31 - 1."""
    minutes: float | None = field(default=None, metadata=FREE)
    """End this session of the training after this many minutes, at a checkpoint; the same command then continues the
    training. By default a session ends with the last step."""
    log_every: int = field(default=50, metadata=FREE)
    """Steps between two lines of ``log.jsonl``, which hold the loss terms."""
    validate_every: int = field(default=2000, metadata=FREE)
    """Steps between two validations on ``data.val``, if it is set."""
    save_every: int = field(default=500, metadata=FREE)
    """Steps between two checkpoints. After a kill, the steps since the last checkpoint are computed again."""
    tensorboard: bool = field(default=False, metadata=FREE)
    """Write the log for TensorBoard too; this needs the package tensorboard (``hkdsr[tensorboard]``)."""
    compile: Compile = "no"
    """Compile the networks that run in each step, by torch.compile, which needs a C++ compiler and takes seconds to
    minutes once. ``no``: do not. ``yes``: do, which gives the same training up to rounding in less time. ``graphs``:
    as CUDA graphs too on a GPU, for small students whose many short operations do not keep it busy; not with
    ``accumulate``."""

    def __post_init__(self) -> None:
        accept_single_values(self)
        for name in ("batch", "accumulate", "threads", "log_every", "validate_every", "save_every"):
            require_range(f"training.{name}", getattr(self, name), 1)
        for name in ("steps", "lr", "gamma", "minutes"):
            require_range(f"training.{name}", getattr(self, name), 0)
        require_range("training.seed", self.seed, 0, 2**31 - 1)
        require_range("training.ema", self.ema, 0, 1)
        for share in self.milestones:
            require_range("training.milestones", share, 0, 1)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise HkdsrError(f"training.betas is {self.betas}: set two values of 0 or more, below 1")
        if self.compile == "graphs" and self.accumulate > 1:  # a graph's gradients are overwritten by its next run
            raise HkdsrError("training.compile is 'graphs', which takes batches whole: set training.accumulate to 1")


@dataclass(frozen=True)
class TrainRecipe:
    """Train a network without a teacher."""

    scale: int = 2
    """Factor between the sides of LR and HR images: 2, 3 or 4."""
    student: NetworkName = "compact:features=32,convs=8"
    """The network to train, as ``family:setting=value,...``, a checkpoint to start from, or code of your own as
    ``FILE.py:NAME:setting=value,...``, which is run; in Python also a network or torch.nn.Module. ``auto``: the largest
    of the families compact and span within ``budget``; it is chosen when the run begins and then stays."""
    init: TrainInit = "scratch"
    """First weights of the network. ``scratch``: random, or those of the checkpoint that ``student`` names.
    ``student``: those of the checkpoint ``init_from``."""
    init_from: Path | None = field(default=None, metadata=CONTENT)
    """A checkpoint of the same network at another scale; weights that depend on the scale are not taken from it."""
    out: Path = field(default=Path("runs/train"), metadata=FREE)
    """Folder for checkpoints, log and weights. If a run was killed, the same command continues it."""
    data: Data = field(default_factory=Data)
    """Training and validation images."""
    training: Training = field(default_factory=Training)
    """Steps, optimiser, device, log and checkpoints."""
    degrade: Degrade = field(default_factory=Degrade)
    """How LR images are degraded, for networks for real photographs."""
    budget: str | None = field(default=None, metadata=FREE)
    """What an ``auto`` student may take: ``300k params``, ``10 GMACs`` (10^9 multiply-adds) or ``20 ms``, the last two
    for making an image of 1280x720 pixels, or as in ``20 ms @ 640x360``; or a name: ``tiny`` (60k params), ``small``
    (180k), ``base`` (500k). Time is measured here, on ``training.device`` with ``training.threads``."""

    def __post_init__(self) -> None:
        _to_paths(self, "out", "init_from")
        require_trained_scale(self.scale)
        _require_init_from(self.init, self.init_from)
        require_budget("budget", self.budget)


@dataclass(frozen=True)
class DistillRecipe:
    """Distil a teacher into a student."""

    teacher: NetworkName = field(default="", metadata=CONTENT)
    """The teacher: a checkpoint of hkdsr, a published one, any other that spandrel reads, a file of ONNX, OpenVINO or
    ncnn, the name of a shipped network, or code as ``FILE.py:NAME:setting=value,...``, ``FILE.pt:forward`` or
    ``FILE.pt2:forward``, which is run; in Python also a network or torch.nn.Module."""
    scale: int = 2
    """Factor between the sides of LR and HR images: 2, 3 or 4; that of the teacher, divided by ``teacher_reduce``."""
    student: NetworkName = "compact:features=32,convs=8"
    """The network to train, as ``family:setting=value,...``, a checkpoint to start from, or code of your own as
    ``FILE.py:NAME:setting=value,...``, which is run; in Python also a network or torch.nn.Module. ``auto``: the largest
    of the families compact and span within ``budget``; it is chosen when the run begins and then stays."""
    init: Init = "scratch"
    """First weights of the student. ``scratch``: random, or those of the checkpoint that ``student`` names. ``slice``:
    the leading channels of the teacher's layers and, if the teacher is deeper, evenly spaced blocks of it. ``drop``:
    the same for equal widths, so whole blocks are dropped. ``prune``: the channels and blocks that are most important
    for training crops, with layers solved by least squares to replace the others. ``student``: those of the checkpoint
    ``init_from``."""
    init_from: Path | None = field(default=None, metadata=CONTENT)
    """A checkpoint of the same student at another scale; weights that depend on the scale are not taken from it. If
    ``init`` is ``prune``: a larger network of the student's family to prune, in place of the teacher."""
    out: Path = field(default=Path("runs/distill"), metadata=FREE)
    """Folder for checkpoints, log and weights. If a run was killed, the same command continues it."""
    data: Data = field(default_factory=Data)
    """Training and validation images."""
    training: Training = field(default_factory=Training)
    """Steps, optimiser, device, log and checkpoints."""
    exits: ExitSettings = field(default_factory=ExitSettings)
    """Intermediate output images of both networks, and the training of the teacher's exit heads."""
    method: Method = field(default_factory=HKDSR)
    """The distillation method and its settings. In TOML: ``[method] name = "hkdsr"``; ``name = ["hkdsr", "logits"]``
    for a sum of methods, with their settings in ``[method.hkdsr]`` and ``[method.logits]``; or
    ``use = "my_method.py:MyKD"`` for a method from a file."""
    method_from: float = 0.0
    """Share of the steps, from 0 to 1, after which the method begins. Before that, the loss is the L1 to the target
    alone, and the teacher does not run."""
    method_until: float = 1.0
    """Share of the steps, from 0 to 1, after which the method ends; what follows is trained as before it begins."""
    method_fade: MethodFade = "none"
    """How the method's weight w changes between ``method_from`` and ``method_until``, linearly, the loss being w times
    the method's and 1 - w times the L1 to the target. ``none``: w is 1. ``out``: from 1 to 0, teacher first and ground
    truth later. ``in``: from 0 to 1."""
    degrade: Degrade = field(default_factory=Degrade)
    """How LR images are degraded, for teachers for real photographs."""
    target: Target = "auto"
    """What the student learns to give. ``hr``: the ground truth. ``teacher``: the teacher's image, in all terms of the
    method that have the ground truth, and for the teacher's exits. ``auto``: ``teacher`` if the teacher changes images,
    as networks trained with a discriminator do: its images, reduced again, are 20 to 45 dB from the LR images; else
    ``hr``. A method without a teacher always has the ground truth."""
    allow_odd_teacher: bool = field(default=False, metadata=FREE)
    """Distil a teacher whose images, reduced again, are less than 20 dB from the LR images, as those of broken or
    untrained networks; by default this is an error."""
    teacher_taps: tuple[str, ...] = ()
    """Modules of the teacher that methods compare features of, in order of depth, as ``body.0,body.7``, for networks
    that spandrel reads and for code whose blocks were not found or are other ones than ``hkdsr info`` shows. Depths
    such as ``method.depths`` then count these modules."""
    teacher_reduce: int = 1
    """Factor by which the teacher's images are reduced, bicubically: 2 makes an x4 network a teacher for x2. Its
    features stay as they are."""
    budget: str | None = field(default=None, metadata=FREE)
    """What an ``auto`` student may take: ``300k params``, ``10 GMACs`` (10^9 multiply-adds) or ``20 ms``, the last two
    for making an image of 1280x720 pixels, or as in ``20 ms @ 640x360``; or a name: ``tiny`` (60k params), ``small``
    (180k), ``base`` (500k). Time is measured here, on ``training.device`` with ``training.threads``."""
    students: tuple[str, ...] = field(default=(), metadata=FREE)
    """Several sizes, in place of ``student``: descriptions or budgets, as ``tiny,small,base``. Each is trained in its
    own folder within ``out``, the largest first, and each smaller one is pruned out of it where its family allows."""

    def __post_init__(self) -> None:
        _to_paths(self, "out", "init_from")
        require_trained_scale(self.scale)
        _require_init_from(self.init, self.init_from)
        split_commas(self, "teacher_taps")
        require_range("method_from", self.method_from, 0, 1)
        require_range("method_until", self.method_until, self.method_from, 1)
        require_range("teacher_reduce", self.teacher_reduce, 1)
        require_budget("budget", self.budget)
        object.__setattr__(self, "students", listed_students(self.students))


def _to_paths(settings: object, *names: str) -> None:
    """Turn text into paths."""
    for name in names:
        value = getattr(settings, name)
        if isinstance(value, tuple):
            value = tuple(map(user_path, value))
        elif isinstance(value, str | Path):
            value = user_path(value)
        object.__setattr__(settings, name, value)


def _require_init_from(init: Init, init_from: Path | None) -> None:
    if init == "student" and init_from is None:
        raise HkdsrError("init is 'student' but init_from is not set: set it to a checkpoint of the same network")
    if init not in ("student", "prune") and init_from is not None:
        raise HkdsrError(f"init_from is set but init is '{init}': set init to 'student' or leave init_from out")
