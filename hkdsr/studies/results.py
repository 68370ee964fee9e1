"""The result of every task as a JSON file, written when the task is complete and then not computed again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from hkdsr.errors import HkdsrError
from hkdsr.scoring import BICUBIC
from hkdsr.settings.resume import lasting_settings, settings_by_kind
from hkdsr.studies.budgets.measurement import measured
from hkdsr.studies.stored import changed_settings, read_stored, write_stored
from hkdsr.studies.study import MEASUREMENT, Study, Task

FILE = "result.json"


@dataclass(frozen=True)
class SetResult:
    """The scores of every image of a set, PSNR-Y in dB, and the protocol by which they were measured."""

    protocol: str
    names: tuple[str, ...]
    psnr_y: tuple[float, ...]
    ssim_y: tuple[float, ...]


@dataclass(frozen=True)
class Cost:
    """What a training cost.

    ``seconds`` are those of the training steps. A pass is one run of a network over as many LR pixels as a batch has:
    ``student_passes`` and ``teacher_passes`` are means per step; ``cached_passes`` computed the teacher's images that
    are stored on disk and ``exit_passes`` trained its exits, both before the first step. ``peak_memory`` is in bytes,
    of the GPU where there is one, else of the process; None where the system does not report it (Windows).
    """

    steps: int
    seconds: float
    student_passes: float
    teacher_passes: float
    cached_passes: float
    exit_passes: float
    peak_memory: int | None
    device: str


@dataclass(frozen=True)
class Result:
    """The ``settings`` of a task, its scores by set, ``facts`` (hashes and sizes), and what its training cost."""

    settings: dict[str, str]
    sets: dict[str, SetResult]
    facts: dict[str, str]
    cost: Cost | None = None


def settings_of(study: Study, task: Task) -> dict[str, str]:
    """The settings that a stored result must agree with to be the result of this task."""
    if task.recipe is not None:
        return {**settings_by_kind(task.recipe, "content"), **lasting_settings(task.recipe)}
    if task.name == BICUBIC:
        return {"scale": str(study.scale)}
    reduced = {"teacher_reduce": str(study.teacher_reduce)} if study.teacher_reduce > 1 else {}
    return {"teacher": study.teacher, "student": study.student, "scale": str(study.scale), **reduced}


def read_result(study: Study, task: Task) -> Result | None:
    """The result in the task's folder; None if there is none.

    A setting that is newer than the result counts as its default, and one that was removed since as the value that
    is now always used.

    Raises HkdsrError if the file is damaged or from other settings, which are named.
    """
    path = study.out / task.name / FILE
    result = read_stored(path, _result, "repeat the run")
    if result is None:
        return None
    if changed := changed_settings(result.settings, settings_of(study, task), task.recipe):
        raise HkdsrError(
            f"{path.parent} was made with other settings ({', '.join(changed)}): restore them, delete that folder, or "
            "change the study's 'out'"
        )
    return result


def write_result(study: Study, task: Task, result: Result) -> None:
    """Write the result atomically. Raises HkdsrError if the disk is full."""
    write_stored(study.out / task.name / FILE, dataclasses.asdict(result))


def finished(study: Study, task: Task) -> bool:
    """Whether the result exists and has the scores of all sets of the study; the measurement must have all rows."""
    if task.name == MEASUREMENT:
        return measured(study)
    result = read_result(study, task)
    return result is not None and set(study.sets) <= result.sets.keys()


def _result(content: dict[str, Any]) -> Result:
    sets = {
        name: SetResult(scores["protocol"], *(tuple(scores[column]) for column in ("names", "psnr_y", "ssim_y")))
        for name, scores in content["sets"].items()
    }
    cost = Cost(**content["cost"]) if content["cost"] else None
    return Result(dict(content["settings"]), sets, dict(content["facts"]), cost)
