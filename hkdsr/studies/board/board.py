"""The leaderboard's numbers: every result of a study brought together, row by row and set by set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from hkdsr.errors import HkdsrError
from hkdsr.scoring import BICUBIC
from hkdsr.studies.board.stats import Difference, gap_closed, mean_and_std, paired_bootstrap
from hkdsr.studies.controls import Controls, all_tasks, controls, row_results
from hkdsr.studies.results import Cost, Result, finished, read_result
from hkdsr.studies.study import TEACHER, Row, Study, Task, described


@dataclass(frozen=True)
class Scores:
    """A row's scores on one set: PSNR-Y in dB, with its spread over seeds, and SSIM-Y.

    ``by_seed`` are the seeds' mean PSNRs, ``by_image`` the images' PSNRs averaged over seeds. ``gap`` is the share
    of the gap between plain training and the teacher that was closed; ``to_plain`` and ``to_best`` are differences in
    PSNR to the plain row and to the best student, None where that is the row itself or is not finished. ``is_student``
    is False for bicubic and the teacher.
    """

    psnr_y: float
    deviation: float | None
    ssim_y: float
    by_seed: tuple[float, ...]
    by_image: tuple[float, ...]
    is_student: bool
    gap: float | None = None
    to_plain: Difference | None = None
    to_best: Difference | None = None


@dataclass(frozen=True)
class Training:
    """What was done for a row: costs are means over seeds, peak memory in bytes is the highest.

    ``wall_clock`` is a ratio: seconds of training over those of the plain row, None while there is none. Only that row
    has ``is_plain``.
    """

    method: str
    init: str
    is_plain: bool
    seconds_by_seed: tuple[float, ...]
    cost: Cost
    wall_clock: float | None


@dataclass(frozen=True)
class Entry:
    """One line of the table; bicubic and the teacher have no ``training``."""

    label: str
    sets: dict[str, Scores]
    training: Training | None


@dataclass(frozen=True)
class Board:
    """All of a leaderboard.

    ``images`` names those of each set, ``facts`` is what is known of teacher and student, ``controls`` says where
    the control rows' steps come from, ``unfinished`` names runs that are missing, with the reason where it is known.
    """

    entries: tuple[Entry, ...]
    protocols: tuple[str, ...]
    images: dict[str, tuple[str, ...]]
    facts: dict[str, str]
    controls: str
    unfinished: dict[str, str]


@dataclass(frozen=True)
class _Group:
    """The finished results of one row; bicubic and the teacher have no ``row``."""

    label: str
    results: Sequence[Result]
    row: Row | None = None


def board(study: Study, failures: Mapping[str, str]) -> Board:
    """What is known as yet; ``failures`` are reasons by the names of runs.

    Raises HkdsrError if there is no result at all, if one is damaged or from other settings, or if runs were made from
    different images or teachers, or scored on different images.
    """
    known = controls(study, failures)
    groups = _groups(study, known)
    if not groups:
        raise HkdsrError(f"{study.out} holds no finished run: run the study first")
    everything = [result for group in groups for result in group.results]
    _require_one_origin(everything, study)
    sets = {name: _set_scores(study, groups, name) for name in study.sets}
    plain = next((group for group in groups if group.row and group.row == study.plain), None)
    entries = (
        Entry(
            group.label,
            {name: scores[group.label] for name, scores in sets.items()},
            _training(group, plain) if group.row else None,
        )
        for group in groups
    )
    teacher = next((result.facts for group in groups for result in group.results if group.label == TEACHER), {})
    return Board(
        tuple(entries),
        tuple(dict.fromkeys(scores.protocol for result in everything for scores in result.sets.values())),
        {name: everything[0].sets[name].names for name in study.sets},
        teacher,
        _told(study, known),
        {task.name: failures.get(task.name, "") for task in all_tasks(study, failures) if not finished(study, task)},
    )


def _groups(study: Study, known: Controls | None) -> list[_Group]:
    found = [_Group(BICUBIC, _references(study, BICUBIC))]
    found += [_Group(row.label, row_results(study, row, study.training.steps), row) for row in study.rows]
    if known:
        found += [_Group(row.label, row_results(study, row, known.steps), row) for row in known.rows]
    found.append(_Group(TEACHER, _references(study, TEACHER)))
    whole = (
        dataclasses.replace(group, results=[r for r in group.results if set(study.sets) <= r.sets.keys()])
        for group in found
    )
    return [group for group in whole if group.results]


def _references(study: Study, name: str) -> list[Result]:
    result = read_result(study, Task(name, name))
    return [result] if result else []


def _told(study: Study, known: Controls | None) -> str:
    if study.longer_steps == 0:
        return "The study has no control rows."
    if known is None:
        reason = "the other rows to be finished" if study.plain else "a row with method 'none' and init 'scratch'"
        return f"The control rows wait for {reason}."
    told = f"The control rows take {known.steps} steps, {known.why}."
    return f"{told} There is none with slice initialisation: {known.missing}." if known.missing else told


def _require_one_origin(results: Sequence[Result], study: Study) -> None:
    for fact, what in (("data_sha256", "training images"), ("teacher_sha256", "teachers")):
        # A run with further teachers names the study's own first.
        if len({result.facts[fact].split(",")[0] for result in results if fact in result.facts}) > 1:
            raise HkdsrError(f"runs in {study.out} were made from different {what}: change 'out' and run them again")
    for name in study.sets:
        if len({result.sets[name].names for result in results}) > 1:
            raise HkdsrError(f"runs in {study.out} were scored on different images of {name}: change 'out'")


def _set_scores(study: Study, groups: Sequence[_Group], name: str) -> dict[str, Scores]:
    psnr = {group.label: {_seed(r): np.array(r.sets[name].psnr_y) for r in group.results} for group in groups}
    ssim = {group.label: np.array([result.sets[name].ssim_y for result in group.results]) for group in groups}
    means = {label: mean_and_std(by_seed)[0] for label, by_seed in psnr.items()}
    students = [group.label for group in groups if group.row]
    best = max(students, key=lambda label: means[label], default=None)
    plain = study.plain.label if study.plain and study.plain.label in students else None
    scores = {}
    for label, by_seed in psnr.items():
        mean, deviation = mean_and_std(by_seed)
        gap = gap_closed(mean, means[plain], means[TEACHER]) if plain and TEACHER in psnr else None
        scores[label] = Scores(
            mean,
            deviation,
            float(ssim[label].mean()),
            tuple(float(scores.mean()) for scores in by_seed.values()),
            tuple(np.mean(list(by_seed.values()), axis=0).tolist()),
            label in students,
            gap if label in students and label != plain else None,
            paired_bootstrap(by_seed, psnr[plain]) if plain and label != plain else None,
            paired_bootstrap(by_seed, psnr[best]) if best and label != best else None,
        )
    return scores


def _seed(result: Result) -> str:
    """A reference has no seed, which is none that a row has."""
    return result.settings.get("training.seed", "")


def _training(group: _Group, plain: _Group | None) -> Training:
    assert group.row is not None
    costs = _costs(group)

    def mean(name: str) -> float:
        return fmean(getattr(cost, name) for cost in costs)

    cost = dataclasses.replace(
        costs[0],
        seconds=mean("seconds"),
        student_passes=mean("student_passes"),
        teacher_passes=mean("teacher_passes"),
        peak_memory=max(cost.peak_memory for cost in costs),
        device="; ".join(dict.fromkeys(cost.device for cost in costs)),
    )
    return Training(
        described(group.row.method),
        group.row.init,
        group is plain,
        tuple(cost.seconds for cost in costs),
        cost,
        cost.seconds / fmean(found.seconds for found in _costs(plain)) if plain else None,
    )


def _costs(group: _Group) -> list[Cost]:
    return [result.cost for result in group.results if result.cost]
