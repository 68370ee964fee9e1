"""The pruned start of a training's student: made once from its training images, then kept by hash."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file
from tqdm import tqdm

from hkdsr.data.crops import Batch
from hkdsr.data.store import ImageStore
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.exits import enlarge
from hkdsr.nets.files.load import digest, save
from hkdsr.nets.start.prune.prune import VERSION, prune
from hkdsr.settings.degrade import Degrade
from hkdsr.training.process_group import ProcessGroup
from hkdsr.training.start_crops import CROPS, SEED, SIDE, mean_psnr, start_crops

logger = logging.getLogger(__name__)


def start_pruned(
    student: Network,
    teacher: Network,
    store: ImageStore,
    cache: Path,
    processes: ProcessGroup,
    target: Network | None = None,
    degrade: Degrade | None = None,
) -> None:
    """Fill ``student`` in place with its pruned start: from ``cache``, or made there by the first of ``processes``.

    The layers are solved for the HR images, or for those of ``target``, the teacher, if it is given. The file's name
    is a hash of the teacher's weights, the images, the student's settings and the method's version.
    Raises HkdsrError if the start enlarges the crops no better than bicubic enlargement does, and as ``prune`` does.
    """
    settings = [student.family, student.settings, digest(teacher.state_dict()), store.key, VERSION, CROPS, SIDE, SEED]
    settings += ["target: teacher"] if target else []
    if degrade and degrade.live:
        settings.append(asdict(degrade))
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    file = cache / f"pruned-{key[:20]}.safetensors"

    def made() -> Path:
        if not file.exists():
            _make(student, teacher, start_crops(store, target, degrade))
            save(student, file)
        return file

    student.load_state_dict(load_file(processes.main_first(made)))


def _make(student: Network, teacher: Network, crops: Batch) -> None:
    with tqdm(desc="pruned start", unit="step", disable=None) as bar:
        prune(student, teacher, crops.lr, crops.hr, bar.update)
    with torch.no_grad():
        score = mean_psnr(torch.cat([student(lr) for lr in crops.lr.split(CROPS // 8)]), crops.hr)
    bicubic = _bicubic(crops, teacher.scale)
    if score <= bicubic:
        raise HkdsrError(
            f"the pruned start gives {score:.2f} dB PSNR on training crops and bicubic enlargement {bicubic:.2f} dB: "
            "give the student more channels or blocks, or set init to 'scratch'"
        )
    logger.info("pruned start: %.2f dB PSNR on training crops, bicubic enlargement %.2f dB", score, bicubic)


def _bicubic(crops: Batch, scale: int) -> float:
    return mean_psnr(enlarge(crops.lr, scale), crops.hr)
