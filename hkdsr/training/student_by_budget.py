"""The student that a budget allows: the largest of the families that export everywhere, counted or measured here."""

from __future__ import annotations

import dataclasses
import json
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from hkdsr.devices import pick_device
from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.nets.base import Network, parameter_count
from hkdsr.nets.files.load import build
from hkdsr.paths import exists
from hkdsr.scoring.cost import cost, milliseconds
from hkdsr.settings.choices import Init
from hkdsr.settings.recipe import DistillRecipe, Training, TrainRecipe
from hkdsr.settings.student_budget import AUTO, Budget, read_budget
from hkdsr.training.checkpoint import FILE as CHECKPOINT
from hkdsr.training.distributed import process_group
from hkdsr.training.student_grid import CUTS, cut_out_of, grids

Recipe = TypeVar("Recipe", TrainRecipe, DistillRecipe)

logger = logging.getLogger(__name__)

FILE = "chosen.json"
"""The file in a run's folder with what was asked for and the students chosen."""
NEAR = 3
"""Lines of the table on each side of the student chosen."""
SECONDS = 2.0
"""Timing a candidate takes about so long, if it is no slower than the budget."""
FEWEST, MOST = 3, 10


@dataclass(frozen=True)
class Candidate:
    """A student by its description: parameters, multiply-adds for the budget's image, milliseconds where timed."""

    student: str
    params: int
    macs: int
    milliseconds: float | None = None

    def takes(self, budget: Budget) -> float | None:
        """What it takes in the budget's unit; None if it was not timed."""
        return {"params": self.params, "GMACs": self.macs / 1e9, "ms": self.milliseconds}[budget.unit]

    def fits(self, budget: Budget) -> bool:
        """Whether it is known to be within the budget."""
        taken = self.takes(budget)
        return taken is not None and taken <= budget.limit


@dataclass(frozen=True)
class Choice:
    """The candidate chosen, those near it, smallest first, and a sentence on how it was chosen."""

    chosen: Candidate
    near: Sequence[Candidate]
    sentence: str

    def lines(self) -> Iterator[str]:
        """The table of the candidates."""
        width = max(len(one.student) for one in self.near)
        yield self.sentence
        timed = self.chosen.milliseconds is not None
        yield f"  {'student':<{width}}{'params':>11}{'GMACs':>9}" + (f"{'ms':>9}" if timed else "")
        for one in self.near:
            taken = "" if one.milliseconds is None else f"{one.milliseconds:>9.1f}"
            mark = "  chosen" if one == self.chosen else ""
            yield f"  {one.student:<{width}}{one.params / 1e3:>9,.1f} K{one.macs / 1e9:>9,.2f}{taken}{mark}"


def with_chosen_student(recipe: Recipe, source: Callable[[], Network] | None = None) -> Recipe:
    """The recipe with the student that its budget allows in place of ``auto``; any other recipe as it is.

    ``source`` gives what the student is cut out of, if the recipe's ``init`` does that. A run that has begun keeps its
    student, whatever this machine would choose now. Raises HkdsrError if only one of ``student = "auto"`` and
    ``budget`` is set, if no candidate fits, and for a run begun with another budget.
    """
    automatic, budget = isinstance(recipe.student, str) and recipe.student == AUTO, recipe.budget
    if automatic and budget is None:
        raise HkdsrError("student is 'auto' but budget is not set: set budget, as '300k params'")
    if budget is None:
        return recipe
    if not automatic:
        raise HkdsrError(f"budget is {budget!r} but student is not 'auto': set student to 'auto' or leave budget out")

    def choose() -> dict[str, str]:
        search = StudentSearch(recipe.scale, recipe.training)
        choice = search.largest(read_budget("budget", budget), recipe.init, source() if source else None)
        for line in choice.lines():
            logger.info("%s", line)
        return {budget: choice.chosen.student}

    return dataclasses.replace(recipe, student=kept_choice(recipe.out, (budget,), choose)[budget], budget=None)


def kept_choice(out: Path, asked: Sequence[str], choose: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What ``choose`` gives, students by what was asked for; once a training has begun in ``out``, what it gave then.

    Raises HkdsrError if the file there is damaged, or if a training has begun there that something else was asked for.
    """
    processes = process_group()
    return processes.agreed(_kept_choice(out, asked, choose) if processes.main else {})


def _kept_choice(out: Path, asked: Sequence[str], choose: Callable[[], dict[str, str]]) -> dict[str, str]:
    path = out / FILE
    if exists(path) and (exists(out / CHECKPOINT) or any(out.glob(f"*/{CHECKPOINT}"))):
        try:
            kept = {str(name): str(student) for name, student in json.loads(path.read_bytes()).items()}
        except (OSError, ValueError, AttributeError) as error:
            raise HkdsrError(f"{path} is damaged: delete it to choose the student again") from error
        if kept.keys() == set(asked):
            return kept
        raise HkdsrError(
            f"{out} was begun for {', '.join(kept)}, not for {', '.join(asked)}: set that again, or change 'out'"
        )
    made = choose()
    write_atomically(path, json.dumps(made, indent=1).encode())
    return made


class StudentSearch:
    """Looks for students of one scale; times are measured on the training's device with its threads."""

    def __init__(self, scale: int, training: Training) -> None:
        if training.threads is not None:
            torch.set_num_threads(training.threads)
        self._scale, self._device = scale, pick_device(training.device)
        self._counted: dict[str, int] = {}
        self._macs: dict[tuple[str, tuple[int, int]], int] = {}
        self._times: dict[tuple[str, tuple[int, int]], float] = {}

    def largest(self, budget: Budget, init: Init = "scratch", source: Network | None = None) -> Choice:
        """The largest student within the budget: of most parameters, where these are limited, else multiply-adds.

        With one of ``CUTS`` as ``init`` it is cut out of ``source``: of its family, no wider and no deeper. Raises
        HkdsrError if no candidate fits, or if ``source`` is of another family than the candidates.
        """
        cut = source if init in CUTS else None
        near = [one for grid in (cut_out_of(cut, init) if cut else grids()) for one in self._near(grid, budget)]
        counted = budget.unit == "params"
        ordered = sorted(near, key=lambda one: (one.params if counted else one.macs, one.student))
        needed = f" of the family {cut.family} (init is '{init}')" if cut else ""
        fitting = [index for index, one in enumerate(ordered) if one.fits(budget)]
        if not fitting:
            raise _too_small(budget, ordered, needed)
        at = fitting[-1]
        shown = ordered[max(at - NEAR, 0) : at + NEAR + 1]
        return Choice(ordered[at], shown, self._sentence(budget, needed, all(one.fits(budget) for one in ordered)))

    def _near(self, grid: Sequence[str], budget: Budget) -> list[Candidate]:
        """Those of a family that are near the budget, from both sides, with what they take.

        From the smallest on, each at most twice as large as the one before, so that none is timed that is much too
        slow, and then by bisection.
        """
        ordered = sorted(grid, key=self._params)
        found: dict[int, Candidate] = {}

        def fits(index: int) -> bool:
            if index not in found:
                found[index] = self._candidate(ordered[index], budget)
            return found[index].fits(budget)

        low, high = -1, len(ordered)
        while low + 1 < high:
            twice = 2 * self._params(ordered[low]) if low >= 0 else 0
            following = max(low + 1, bisect_right(ordered, twice, key=self._params) - 1)
            if not fits(following):
                high = following
                break
            low = following
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        # What is taken does not quite grow with the parameters by which they are ordered.
        more = 1 if budget.unit == "ms" else NEAR
        for index in range(max(high - more, 0), min(low + more + 2, len(ordered))):
            fits(index)
        return list(found.values())

    def _params(self, student: str) -> int:
        if student not in self._counted:
            self._counted[student] = parameter_count(build(student, self._scale))
        return self._counted[student]

    def _candidate(self, student: str, budget: Budget) -> Candidate:
        key = (student, budget.output)
        if key not in self._macs:
            self._macs[key] = cost(build(student, self._scale), budget.output).macs
        if budget.unit == "ms" and key not in self._times:
            self._times[key] = self._time(student, budget)
        taken = self._times[key] if budget.unit == "ms" else None
        return Candidate(student, self._params(student), self._macs[key], taken)

    def _time(self, student: str, budget: Budget) -> float:
        width, height = budget.output
        size = (-(-height // self._scale), -(-width // self._scale))
        runs = min(max(round(1e3 * SECONDS / budget.limit), FEWEST), MOST)
        return milliseconds(build(student, self._scale).to(self._device).eval(), size, runs)

    def _sentence(self, budget: Budget, needed: str, is_last: bool) -> str:
        image = f"x{self._scale}, output {budget.output[0]}x{budget.output[1]}"
        threads = f" with {torch.get_num_threads()} threads" if self._device.type == "cpu" else ""
        how = f", timed on {self._device}{threads}" if budget.unit == "ms" else ""
        end = "; there is no larger candidate" if is_last else ""
        return f"students{needed} near the budget {budget.text!r} ({image}{how}){end}"


def _too_small(budget: Budget, ordered: Sequence[Candidate], needed: str) -> HkdsrError:
    least = min(ordered, key=lambda one: one.takes(budget) or 0.0)
    taken = least.takes(budget) or 0.0
    told = f"{taken:,.0f} params" if budget.unit == "params" else f"{taken:.3g} {budget.unit}"
    return HkdsrError(
        f"no student is within the budget {budget.text!r}: the smallest one{needed}, {least.student}, takes {told}, so "
        "raise the budget"
    )
