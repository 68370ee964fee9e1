"""Stage 1: train the exit heads of the frozen teacher, keep them by hash, and refuse exits no better than bicubic."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from hkdsr.data.crops import CropSampler
from hkdsr.data.degrade import live_degrader, random_of
from hkdsr.data.store import ImageStore
from hkdsr.data.tensors import to_tensor, to_uint8
from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.memory import needed_for
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, NetworkWithExits, Outputs, enlarge
from hkdsr.nets.files.load import digest
from hkdsr.nets.start.heads import solve_heads
from hkdsr.scoring.metrics import psnr_y
from hkdsr.settings.choices import HeadKind
from hkdsr.settings.degrade import Degrade
from hkdsr.settings.recipe import ExitSettings, Training
from hkdsr.training.checkpoint import FILE
from hkdsr.training.context import Context, opened
from hkdsr.training.fit import fit
from hkdsr.training.labelling import infer
from hkdsr.training.start_crops import start_crops

logger = logging.getLogger(__name__)

CHECKED_IMAGES = 12
CHECKED_SIDE = 96  # LR pixels: enough to score an exit, small enough to take only seconds


@dataclass(frozen=True)
class ExitScores:
    """PSNR-Y in dB on training images: of bicubic, of each exit in order, and of the final output."""

    bicubic: float
    exits: tuple[float, ...]
    final: float

    def sentence(self) -> str:
        """The scores as one line of text."""
        exits = ", ".join(f"exit {index + 1} {score:.2f}" for index, score in enumerate(self.exits))
        return f"teacher's PSNR-Y on training images: bicubic {self.bicubic:.2f}, {exits}, final {self.final:.2f} dB"


class ExitTraining(nn.Module):
    """Loss of stage 1: the sum of the intermediate exits' L1 to the HR image; ``include_final`` adds the output's.

    If the teacher ``is_target``, its own image takes the place of HR.
    """

    def __init__(
        self, teacher: NetworkWithExits, train_all: bool, include_final: bool, is_target: bool = False
    ) -> None:
        super().__init__()
        self.exits = teacher.exits
        self.include_final, self.is_target = include_final, is_target
        # A frozen trunk is not registered in the module, so that it is neither saved nor averaged.
        self.trunk = teacher.network if train_all else None
        self._network = (teacher.network,)

    def forward(self, lr: Tensor, hr: Tensor | None, teacher: Outputs | None) -> dict[str, Tensor]:
        network = self.trunk or self._network[0]
        with torch.set_grad_enabled(self.trunk is not None and torch.is_grad_enabled()):
            traced = network.trace(lr, self.exits.taps)
        if self.is_target:
            hr = traced.sr.detach().float().clamp(0, 1)
        images = self.exits(lr, traced, network.scale)
        assert hr is not None  # without HR images the teacher is the target
        terms = {f"exit{index + 1}": (image - hr).abs().mean() for index, image in enumerate(images)}
        if self.include_final:
            terms["final"] = (traced.sr - hr).abs().mean()
        return terms


@dataclass(frozen=True)
class Stage1Images:
    """What exits are trained on: crops of ``patch`` LR pixels of ``store``, degraded as ``degrade`` says.

    If the teacher ``is_target``, its own images take the place of HR.
    """

    store: ImageStore
    patch: int
    degrade: Degrade | None = None
    is_target: bool = False


def teacher_with_exits(
    teacher: Network, images: Stage1Images, settings: ExitSettings | None, cache: Path, context: Context
) -> NetworkWithExits:
    """The teacher with trained and checked exits; without exits if ``settings`` is None.

    Exits that are trained to the teacher's own images are not checked, as scores against HR say nothing about them.

    The heads come from the cache if they were trained before; otherwise the first process trains them now. The cache's
    key is a hash of the teacher's weights, the images, and every setting of stage 1.

    Raises HkdsrError for depths or kinds that do not suit the teacher, and for weak exits that are not allowed.
    """
    if settings is None:
        return NetworkWithExits(teacher, Exits(teacher, ())).eval().requires_grad_(False)
    if images.is_target and settings.stage1_trainable == "all":
        raise HkdsrError(
            "exits.stage1_trainable is 'all' but the teacher's images are the target, which must stay as they are: set "
            "it to 'heads', or target to 'hr'"
        )
    together = context.processes.main_first(lambda: trained_exits(teacher, images, settings, cache, context))
    if images.is_target:
        return together
    scores = score_exits(together, images.store, context.device, images.degrade)
    logger.info("%s", scores.sentence())
    check_exits(scores, settings.allow_weak)
    return together


def trained_exits(
    teacher: Network, images: Stage1Images, settings: ExitSettings, cache: Path, context: Context
) -> NetworkWithExits:
    """As ``teacher_with_exits``, in one process and without the check."""
    torch.manual_seed(settings.stage1_seed)
    together = untrained_exits(teacher, settings)
    exits, train_all = together.exits, settings.stage1_trainable == "all"
    if not trains_exits(settings):
        return together
    key = _key(teacher, images, settings, context.settings)
    folder = cache / f"exits-{key[:20]}"
    finished = folder / "heads.safetensors"
    trained = together if train_all else exits
    if not finished.exists():
        together.to(context.device)
        trained.requires_grad_(True)
        stage1 = stage1_training(settings, context.settings)
        with opened(folder, stage1, {"key": key}, "teacher's exits", wait=True) as own:
            if not finished.exists():  # another run may have trained them meanwhile
                if settings.start == "solved" and own.found is None:
                    crops = start_crops(images.store, teacher if images.is_target else None, images.degrade)
                    solve_heads(teacher, exits, crops.lr.to(context.device), crops.hr.to(context.device))
                module = ExitTraining(together, train_all, settings.stage1_include_final, images.is_target)
                crops = (images.patch, settings.stage1_batch, settings.stage1_seed)
                sampler = CropSampler(images.store, *crops, degrade=images.degrade)
                with needed_for("the training of the teacher's exits", "lower exits.stage1_batch or data.patch"):
                    _write(fit(module, sampler, own).average, train_all, finished)
                (folder / FILE).unlink(missing_ok=True)
    trained.load_state_dict(load_file(finished))
    # The memory layout of a run that finds the heads in the cache: another one would round differently.
    return together.cpu().eval().requires_grad_(False).to(memory_format=torch.contiguous_format)


def _write(average: nn.Module, train_all: bool, path: Path) -> None:
    prefix = "" if train_all else "exits."
    state = {k.removeprefix(prefix): v for k, v in average.state_dict().items()}
    if train_all:
        state = {k.replace("trunk.", "network.", 1): v for k, v in state.items()}
    write_atomically(path, to_safetensors({k: v.cpu().contiguous() for k, v in state.items()}))


def untrained_exits(teacher: Network, settings: ExitSettings) -> NetworkWithExits:
    """The frozen teacher with the heads that stage 1 begins with. Raises HkdsrError as ``Exits`` does."""
    exits = Exits(teacher, settings.teacher, _stage1_kind(settings), settings.tail, settings.start)
    return NetworkWithExits(teacher, exits).eval().requires_grad_(False)


def trains_exits(settings: ExitSettings) -> bool:
    """Whether stage 1 has anything to train: heads that share the network's own tail have no weights."""
    return settings.stage1_trainable == "all" or (_stage1_kind(settings) == "separate" and len(settings.teacher) > 0)


def stage1_training(settings: ExitSettings, training: Training) -> Training:
    """The settings of stage 1 for a student's ``training``."""
    # Every setting that changes the heads is fixed here or is part of their key, whichever run trains them first.
    steps = settings.stage1_steps
    return dataclasses.replace(
        training,
        steps=steps,
        lr=settings.stage1_lr,
        batch=settings.stage1_batch,
        accumulate=1,
        minutes=None,
        seed=settings.stage1_seed,
        milestones=(0.6, 0.9),
        gamma=0.5,
        ema=min(0.999, 1 - 10 / max(steps, 20)),
        save_every=100,
        tensorboard=False,
    )


def score_exits(
    teacher: NetworkWithExits, store: ImageStore, device: torch.device, degrade: Degrade | None = None
) -> ExitScores:
    """PSNR-Y of the exits on the centres of a few training images, evenly spread over the whole set."""
    scale = store.scale
    degrader = live_degrader(degrade, scale, store.has_hr)
    rows = []
    for index in np.linspace(0, len(store) - 1, min(CHECKED_IMAGES, len(store))).astype(int):
        lr = store.lr(index)
        top, left = (max(size - CHECKED_SIDE, 0) // 2 for size in lr.shape[:2])
        lr = lr[top : top + CHECKED_SIDE, left : left + CHECKED_SIDE]
        hr = store.hr(index)[scale * top :, scale * left :][: scale * lr.shape[0], : scale * lr.shape[1]]
        if degrader:
            lr = degrader.degraded(hr, random_of(0, int(index), 0))
        images = infer(teacher, lr, device)
        # Rounded once, as the exits are: an exit that has learnt nothing then has exactly this score.
        bicubic = to_uint8(enlarge(to_tensor(lr, device), scale))
        rows.append([psnr_y(p, hr, scale) for p in (bicubic, *images)])
    bicubic, *exits, final = np.mean(rows, axis=0).tolist()
    return ExitScores(bicubic, tuple(exits), final)


def check_exits(scores: ExitScores, allow_weak: bool) -> None:
    """Raises HkdsrError if an exit is no better than bicubic and ``allow_weak`` is false."""
    weak = [str(index + 1) for index, score in enumerate(scores.exits) if score <= scores.bicubic]
    if weak and not allow_weak:
        raise HkdsrError(
            f"the teacher's exit {', '.join(weak)} is no better than bicubic ({scores.sentence()}): raise "
            "exits.stage1_steps, choose deeper exits.teacher, or set exits.allow_weak"
        )


def _stage1_kind(settings: ExitSettings) -> HeadKind:
    # If the student uses the teacher's tail for its exits, the teacher's exits go through that tail as well.
    return "shared" if settings.kind == "teacher_tail" else settings.kind


def _key(teacher: Network, images: Stage1Images, settings: ExitSettings, training: Training) -> str:
    degrade = images.degrade
    stage1 = (
        settings.teacher,
        settings.tail,
        settings.start,
        _stage1_kind(settings),
        settings.stage1_steps,
        settings.stage1_lr,
        settings.stage1_batch,
        settings.stage1_trainable,
        settings.stage1_include_final,
        images.patch,
        settings.stage1_seed,
        training.betas,
        *(("target: teacher",) if images.is_target else ()),
        *([taps] if (taps := teacher.settings.get("taps")) else []),
        *([dataclasses.asdict(degrade)] if degrade and degrade.live else []),
    )
    return hashlib.sha256(json.dumps([digest(teacher.state_dict()), images.store.key, stage1]).encode()).hexdigest()
