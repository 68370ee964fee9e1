"""Forms of one work, timed in turn so that other work of the machine slows all alike, and rows of their ratios.

A form is a function that does the work once. Each turn calls it twice and counts the second call: by then it has the
memory and the caches back that the others had. A form whose calls take longer than its work, as that of a program that
has to start first, returns its own seconds, and is called once.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

Form = Callable[[], object]

SECONDS, FEWEST, MOST = 10.0, 3, 15
"""Forms that are compared with one another take turns for so long, but so many times at least and at most."""


@dataclass(frozen=True)
class Missing:
    """A form that does not run here, and why."""

    why: str


@dataclass(frozen=True)
class Pair:
    """What is compared with what.

    ``goal`` is the most that our time should be of theirs, ``goal_seconds`` the most that it should be. Ours does
    ``work`` times as much as theirs, so its time is divided by that. With ``by_cpu`` the goal is about CPU seconds.
    """

    what: str
    against: str
    ours: Form | Missing
    theirs: Form | Missing
    goal: float | None = None
    goal_seconds: float | None = None
    work: float = 1.0
    by_cpu: bool = False


@dataclass(frozen=True)
class Taken:
    """Medians over the rounds: seconds, and CPU seconds of this process and those it has started; None if unknown."""

    wall: float
    cpu: float | None


@dataclass(frozen=True)
class Row:
    """A pair with the seconds of both, theirs for as much work, and their ratio; or ``why`` it was not measured."""

    what: str
    against: str
    ours: float | None
    theirs: float | None
    ratio: float | None
    cpu_ratio: float | None
    goal: float | None
    goal_seconds: float | None
    met: bool | None
    why: str = ""


def measured(pairs: Sequence[Pair], rounds: int | None = None) -> list[Row]:
    """The rows of ``pairs``, whose forms all take turns; in so many ``rounds``, or as many as there is time for."""
    runnable = [pair for pair in pairs if not why_missing(pair)]
    forms = {id(form): form for pair in runnable for form in (pair.ours, pair.theirs) if not isinstance(form, Missing)}
    found = dict(zip(forms, in_turn([*forms.values()], rounds), strict=True))
    return [_row(pair, found.get(id(pair.ours)), found.get(id(pair.theirs))) for pair in pairs]


def in_turn(forms: Sequence[Form], rounds: int | None = None) -> list[Taken]:
    """What each of ``forms`` takes. One round, which is not counted, warms up."""
    taken: list[list[Taken]] = [[] for _ in forms]
    for form in forms:
        form()
    end = time.perf_counter() + SECONDS
    for count in range(rounds or MOST):
        if rounds is None and count >= FEWEST and time.perf_counter() > end:
            break
        for form, own in zip(forms, taken, strict=True):
            own.append(_turn(form))
    return [_medians(own) for own in taken]


def why_missing(pair: Pair) -> str:
    """Why a pair cannot be measured here; empty if it can."""
    return next((form.why for form in (pair.ours, pair.theirs) if isinstance(form, Missing)), "")


def cpu_seconds() -> float:
    """CPU seconds so far of this process and of those that it has started, which may still run (on Linux)."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(_of_process, _children()))


def _turn(form: Form) -> Taken:
    own = form()
    if isinstance(own, float):
        return Taken(own, None)
    _wait_for_children()
    cpu, begun = cpu_seconds(), time.perf_counter()
    form()
    wall = time.perf_counter() - begun
    _wait_for_children()
    return Taken(wall, cpu_seconds() - cpu)


def _wait_for_children() -> None:
    """Wait until no process that this one has started works any more: it would work during the turn of another form."""
    before = -1.0
    while _children() and (now := sum(map(_of_process, _children()))) > before:
        before = now
        time.sleep(0.03)


def _medians(taken: Sequence[Taken]) -> Taken:
    cpu = [one.cpu for one in taken if one.cpu is not None]
    return Taken(median(one.wall for one in taken), median(cpu) if cpu else None)


def _row(pair: Pair, ours: Taken | None, theirs: Taken | None) -> Row:
    goals = (pair.goal, pair.goal_seconds)
    if ours is None or theirs is None:
        return Row(pair.what, pair.against, None, None, None, None, *goals, None, why_missing(pair))
    ratio = ours.wall / theirs.wall / pair.work
    cpu_ratio = ours.cpu / theirs.cpu / pair.work if ours.cpu and theirs.cpu else None
    judged = cpu_ratio if pair.by_cpu else ratio
    checks = [value <= goal for value, goal in ((judged, pair.goal), (ours.wall, pair.goal_seconds)) if value and goal]
    met = all(checks) if checks else None
    return Row(pair.what, pair.against, ours.wall, theirs.wall * pair.work, ratio, cpu_ratio, *goals, met)


def _children() -> list[int]:
    listed = (path.read_text().split() for path in Path("/proc/self/task").glob("*/children"))
    return [int(pid) for pids in listed for pid in pids]


def _of_process(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
