"""The report of a run: its student beside bicubic, the teacher and other runs, scored on images that it shows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from hkdsr.data.embedded import demo_files
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import load
from hkdsr.nets.files.named import recorded
from hkdsr.nets.teachers import load_teacher
from hkdsr.paths import is_folder, user_path
from hkdsr.report.content import Comparison, Report, Row
from hkdsr.report.labels import labels
from hkdsr.report.run import Run, read_run
from hkdsr.report.scenes import HR, TEACHER, Scenes, hr_scenes, lr_scenes
from hkdsr.runs.run import recipe_text
from hkdsr.scoring import BICUBIC, SetScore, cost, milliseconds_in_turn
from hkdsr.scoring.inference import upscaled
from hkdsr.scoring.scores import score_image

INPUT = "input"
RESERVED = (BICUBIC, INPUT, TEACHER, HR)
TIMED_OUTPUT = (640, 360)
TIMED_ROUNDS = 3
SHOWN = 6
"""As many images are shown; all are scored."""

logger = logging.getLogger(__name__)


def read_sources(run: Path, against: Sequence[str | Path]) -> tuple[Run, list[Run]]:
    """The run in the folder ``run``, and the runs (folders) and networks (files or names) of ``against``.

    Each has a label of its own. Raises HkdsrError as ``read_run`` and ``hkdsr.load`` do.
    """
    label, *others = labels([run, *against], RESERVED)
    found = zip(against, others, strict=True)
    return read_run(run, label), [
        read_run(user_path(name), label) if is_folder(user_path(name)) else Run(label, load(name))
        for name, label in found
    ]


def run_report(
    run: Run, against: Sequence[Run] = (), images: Sequence[Path] = (), device: torch.device | None = None
) -> Report:
    """The report of ``run`` beside bicubic, the networks of ``against`` and, if its file is there, the teacher.

    ``images`` are files and folders of HR images; by default the validation images of the recipe if they are there,
    else the demo's photographs. All networks run on ``device`` (default: the CPU). Of a run with ``data.lr_only`` they
    are LR images, shown as "input", and the teacher's images take the place of HR.

    Raises HkdsrError for networks of different scales, for images that are missing, unreadable or too small, and for a
    run with ``data.lr_only`` without its teacher or images.
    """
    scale = run.network.scale
    for other in against:
        if other.network.scale != scale:
            raise HkdsrError(
                f"{other.label} is a x{other.network.scale} network and {run.label} a x{scale} one: "
                "compare networks of one scale"
            )
    teacher, lr_only = _teacher(run), bool(run.setting("data.lr_only"))
    if lr_only and teacher is None:
        raise HkdsrError(f"{run.label} was trained without HR, and its teacher {run.teacher} is gone: put it back")
    runs = [*against, run, *([teacher] if teacher else [])]
    for each in runs:
        each.network.to(device or torch.device("cpu"))
    if teacher and lr_only:
        given = lr_scenes(images or _default_lr_images(run), teacher.network)
    else:
        given = hr_scenes(images or _default_images(run), scale)
    networks: dict[str, Network | None] = {BICUBIC: None}
    networks |= {each.label: each.network for each in runs if each.label != given.reference}
    scores, comparisons = _scores(networks, given, scale)
    rows = [Row(BICUBIC, psnr=scores[BICUBIC].psnr_y, ssim=scores[BICUBIC].ssim_y)]
    rows += [_row(each, scores.get(each.label), time) for each, time in zip(runs, _times(runs, scale), strict=True)]
    count = len(scores[BICUBIC].images)
    shown = f", the first {SHOWN} of which are shown" if count > SHOWN else ""
    return Report(
        title=run.label,
        subtitle=f"{_summary(run)}; scored on {count} image{'s' if count > 1 else ''}{shown}",
        protocol=". ".join(filter(None, (scores[BICUBIC].protocol, "" if lr_only else run.remark))),
        rows=rows,
        curves=[curve for each in runs for curve in each.curves],
        comparisons=comparisons,
        recipe_text=recipe_text(run.recipe),
        compared=(against[0].label if against else INPUT if lr_only else BICUBIC, run.label),
    )


def _summary(run: Run) -> str:
    student = run.setting("student") or run.label
    if run.setting("method.name") is None:
        return f"{student} trained without a teacher"
    if not run.teacher:
        return f"{student} distilled by {run.setting('method.name')}"
    return f"{Path(run.teacher).name} distilled into {student} by {run.setting('method.name')}"


def _default_images(run: Run) -> list[Path]:
    if run.val and is_folder(run.val):
        return [Path(run.val)]
    try:
        return list(demo_files()[1].values())
    except HkdsrError as error:
        raise HkdsrError(f"no images are given and {error}, or give HR images") from error


def _default_lr_images(run: Run) -> list[Path]:
    if run.val and is_folder(run.val):
        return [Path(run.val)]
    raise HkdsrError(f"{run.label} was trained without HR and has no data.val: give LR images")


def _teacher(run: Run) -> Run | None:
    if not run.teacher:
        return None
    try:
        network = load_teacher(recorded(run.teacher), run.network.scale, reduce=run.setting("teacher_reduce") or 1)
    except HkdsrError as error:
        logger.warning("The report is without the teacher: %s", error)
        return None
    return Run(TEACHER, network, sessions=Path(run.teacher).name)


def _scores(
    networks: Mapping[str, Network | None], given: Scenes, scale: int
) -> tuple[dict[str, SetScore], list[Comparison]]:
    """The scores of every network on all images together, and the first images by every network."""
    by_label = {label: [] for label in networks}
    comparisons = []
    for scene in tqdm(given.scenes, "images", leave=False, disable=None):
        (lr, reference), name = scene.pair(), scene.path.stem
        images: dict[str, np.ndarray] = {}
        if given.reference != HR:
            images[INPUT] = lr.repeat(scale, 0).repeat(scale, 1)
        for label, network in networks.items():
            images[label] = upscaled(network, lr, scale, name=scene.path)
            by_label[label].append(score_image(name, images[label], reference, scale))
        if len(comparisons) < SHOWN:
            comparisons.append(Comparison(name, images, reference, given.reference))
    scores = {label: SetScore("images", given.protocol, tuple(found)) for label, found in by_label.items()}
    return scores, comparisons


def _times(runs: Sequence[Run], scale: int) -> list[float]:
    size = (TIMED_OUTPUT[1] // scale, TIMED_OUTPUT[0] // scale)
    return milliseconds_in_turn([run.network for run in runs], [size] * len(runs), TIMED_ROUNDS)


def _row(run: Run, score: SetScore | None, time: float) -> Row:
    counted = cost(run.network) if run.network.runs_in_pytorch else None
    return Row(
        run.label,
        params=counted.params if counted else None,
        macs=counted.macs if counted else None,
        milliseconds=time,
        psnr=score.psnr_y if score else None,
        ssim=score.ssim_y if score else None,
        steps=run.steps,
        seconds=run.seconds,
        note=run.note,
    )
