"""The result of every task as a JSON file, written when the task is complete and then not computed again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.scoring import BICUBIC
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.removed import constants
from hkdsr.settings.resume import flat_settings, lasting_settings, settings_by_kind
from hkdsr.studies.study import Study, Task

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
    return {"teacher": study.teacher, "student": study.student, "scale": str(study.scale)}


def read_result(study: Study, task: Task) -> Result | None:
    """The result in the task's folder; None if there is none.

    A setting that is newer than the result counts as its default, and one that was removed since as the value that
    is now always used.

    Raises HkdsrError if the file is damaged or from other settings, which are named.
    """
    path = study.out / task.name / FILE
    try:
        result = _result(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HkdsrError(f"cannot read {path} ({error.strerror}): check its permissions") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise HkdsrError(f"{path} is damaged or from another version: delete it to repeat the run") from error
    expected, default = settings_of(study, task), _defaults(task)
    removed = constants(expected)
    expected, default = {**removed, **expected}, {**removed, **default}
    names = sorted(expected.keys() | result.settings.keys())
    if changed := [name for name in names if expected.get(name) != result.settings.get(name, default.get(name))]:
        raise HkdsrError(
            f"{path.parent} was made with other settings ({', '.join(changed)}): restore them, delete that folder, or "
            "change the study's 'out'"
        )
    return result


def write_result(study: Study, task: Task, result: Result) -> None:
    """Write the result atomically. Raises HkdsrError if the disk is full."""
    text = json.dumps(dataclasses.asdict(result), indent=1)
    write_atomically(study.out / task.name / FILE, text.encode())


def finished(study: Study, task: Task) -> bool:
    """Whether the task's result exists and has the scores of all sets of the study."""
    result = read_result(study, task)
    return result is not None and set(study.sets) <= result.sets.keys()


def _result(content: dict[str, Any]) -> Result:
    sets = {
        name: SetResult(scores["protocol"], *(tuple(scores[column]) for column in ("names", "psnr_y", "ssim_y")))
        for name, scores in content["sets"].items()
    }
    cost = Cost(**content["cost"]) if content["cost"] else None
    return Result(dict(content["settings"]), sets, dict(content["facts"]), cost)


def _defaults(task: Task) -> dict[str, str]:
    if task.recipe is None:
        return {}
    return flat_settings(DistillRecipe(method=type(task.recipe.method)()))
