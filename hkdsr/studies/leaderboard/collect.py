"""Collecting the leaderboard: the results of a study, row by row and set by set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from hkdsr.errors import HkdsrError
from hkdsr.scoring import BICUBIC
from hkdsr.studies.controls import Controls, all_tasks, controls, row_results
from hkdsr.studies.leaderboard.content import Entry, Leaderboard, RowTraining, Scores
from hkdsr.studies.leaderboard.statistics import gap_closed, mean_and_std, paired_bootstrap
from hkdsr.studies.results import Cost, Result, finished, read_result
from hkdsr.studies.study import TEACHER, Row, Study, Task, describe_row
from hkdsr.training.fidelity import FIDELITY


@dataclass(frozen=True)
class Group:
    """The finished results of one row; bicubic and the teacher have no ``row``."""

    label: str
    results: Sequence[Result]
    row: Row | None = None


def collect(study: Study, failures: Mapping[str, str]) -> Leaderboard:
    """The leaderboard of all results so far; ``failures`` are reasons by the names of runs.

    Raises HkdsrError if there is no result at all, if one is damaged or from other settings, or if runs were trained
    with different images or teachers, or scored on different images.
    """
    known = controls(study, failures)
    missing = [task.name for task in all_tasks(study, failures) if not finished(study, task)]
    groups = complete(study, _groups(study, known))
    if not groups:
        raise HkdsrError(f"{study.out} holds no finished run: run the study first")
    require_same_origin([result for group in groups for result in group.results], study)
    return board_of(study, groups, _controls_text(study, known), {name: failures.get(name, "") for name in missing})


def board_of(study: Study, groups: Sequence[Group], controls_text: str, unfinished: Mapping[str, str]) -> Leaderboard:
    """The leaderboard of ``groups`` that have results, at least one."""
    results = [result for group in groups for result in group.results]
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
    teacher_facts = next((result.facts for group in groups for result in group.results if group.label == TEACHER), {})
    checks = [result.facts[FIDELITY] for result in results if FIDELITY in result.facts]
    return Leaderboard(
        tuple(entries),
        tuple(dict.fromkeys(scores.protocol for result in results for scores in result.sets.values())),
        {name: results[0].sets[name].names for name in study.sets},
        {**teacher_facts, **({FIDELITY: checks[0]} if checks else {})},
        controls_text,
        dict(unfinished),
    )


def complete(study: Study, groups: Iterable[Group]) -> list[Group]:
    """The groups with results of all sets, and of them those results alone."""
    whole = (
        dataclasses.replace(group, results=[r for r in group.results if set(study.sets) <= r.sets.keys()])
        for group in groups
    )
    return [group for group in whole if group.results]


def _groups(study: Study, known: Controls | None) -> list[Group]:
    found = [Group(BICUBIC, reference_results(study, BICUBIC))]
    found += [Group(row.label, row_results(study, row, study.training.steps), row) for row in study.rows]
    if known:
        found += [Group(row.label, row_results(study, row, known.steps), row) for row in known.rows]
    found.append(Group(TEACHER, reference_results(study, TEACHER)))
    return found


def reference_results(study: Study, name: str) -> list[Result]:
    """The result of bicubic enlargement or the teacher, if it exists."""
    result = read_result(study, Task(name, name))
    return [result] if result else []


def _controls_text(study: Study, known: Controls | None) -> str:
    if study.longer_steps == 0:
        return "The study has no control rows."
    if known is None:
        missing = "the other rows are finished" if study.plain else "a row has method 'none' and init 'scratch'"
        return f"The control rows are added once {missing}."
    text = f"The control rows take {known.steps} steps, {known.reason}."
    return f"{text} None has slice initialisation: {known.not_sliceable}." if known.not_sliceable else text


def require_same_origin(results: Sequence[Result], study: Study) -> None:
    """Raises HkdsrError for results of different training images or teachers, or of different images of a set."""
    for fact, what in (("data_sha256", "training images"), ("teacher_sha256", "teachers")):
        origins: dict[str | None, set[str]] = {}
        for result in results:
            if fact in result.facts:
                # Rows with a share of their own have other images.
                part = result.settings.get("data.share") if fact == "data_sha256" else None
                # A run with several teachers lists the study's own first.
                origins.setdefault(part, set()).add(result.facts[fact].split(",")[0])
        if any(len(digests) > 1 for digests in origins.values()):
            raise HkdsrError(f"runs in {study.out} were made with different {what}: change 'out' and run them again")
    for name in study.sets:
        if len({result.sets[name].names for result in results}) > 1:
            raise HkdsrError(f"runs in {study.out} were scored on different images of {name}: change 'out'")


def _set_scores(study: Study, groups: Sequence[Group], name: str) -> dict[str, Scores]:
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
    """Empty for a reference, which has no seed: it is then paired with no row."""
    return result.settings.get("training.seed", "")


def _training(group: Group, plain: Group | None) -> RowTraining:
    assert group.row is not None
    costs = _costs(group)

    def mean(name: str) -> float:
        return fmean(getattr(cost, name) for cost in costs)

    cost = dataclasses.replace(
        costs[0],
        seconds=mean("seconds"),
        student_passes=mean("student_passes"),
        teacher_passes=mean("teacher_passes"),
        peak_memory=max((cost.peak_memory for cost in costs if cost.peak_memory is not None), default=None),
        device="; ".join(dict.fromkeys(cost.device for cost in costs)),
    )
    return RowTraining(
        describe_row(group.row),
        group.row.init,
        group is plain,
        tuple(cost.seconds for cost in costs),
        cost,
        cost.seconds / fmean(found.seconds for found in _costs(plain)) if plain else None,
    )


def _costs(group: Group) -> list[Cost]:
    return [result.cost for result in group.results if result.cost]
