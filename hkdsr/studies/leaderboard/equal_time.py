"""Collecting the leaderboards of a study with budgets, one for each."""

from __future__ import annotations

from collections.abc import Mapping

from hkdsr.errors import HkdsrError
from hkdsr.scoring import BICUBIC
from hkdsr.studies.budgets.measurement import read_measurement
from hkdsr.studies.budgets.plan import Plan, budget_run, plans
from hkdsr.studies.leaderboard.collect import Group, board_of, complete, reference_results, require_same_origin
from hkdsr.studies.leaderboard.content import BudgetBoard, BudgetBoards
from hkdsr.studies.results import Result, read_result
from hkdsr.studies.study import TEACHER, Study

OFF = 0.1
"""Runs that take more or less than their budget by more than this share of it are named."""
NO_CONTROLS = "The study has no control rows: every row has the same seconds."


def collect_budgets(study: Study, failures: Mapping[str, str]) -> BudgetBoards:
    """The leaderboards of all budgets so far; ``failures`` are reasons by the names of runs.

    Raises HkdsrError as ``collect`` does.
    """
    gathered = {}
    for budget in sorted(study.budgets, key=lambda text: study.seconds[text]):
        found = _Budget(study, budget)
        groups = complete(study, [Group(BICUBIC, reference_results(study, BICUBIC)), *found.rows()])
        gathered[budget] = found, [*groups, *complete(study, [Group(TEACHER, reference_results(study, TEACHER))])]
    results = [result for _, groups in gathered.values() for group in groups for result in group.results]
    if not results:
        raise HkdsrError(f"{study.out} holds no finished run: run the study first")
    require_same_origin(results, study)
    return BudgetBoards(
        read_measurement(study),
        tuple(
            BudgetBoard(
                budget,
                study.seconds[budget],
                found.plans,
                board_of(study, groups, NO_CONTROLS, {name: failures.get(name, "") for name in found.missing}),
                found.off,
            )
            for budget, (found, groups) in gathered.items()
        ),
    )


class _Budget:
    """The results of one budget. ``missing`` names the runs without one, ``off`` those that missed their budget."""

    def __init__(self, study: Study, budget: str) -> None:
        self._study, self._budget = study, budget
        self.plans = plans(study, budget)
        self.missing: list[str] = []
        self.off: dict[str, float] = {}

    def rows(self) -> list[Group]:
        """A group for each row that has steps in this budget."""
        planned = [row for row in self._study.rows if row.label in self.plans and self.plans[row.label].steps]
        groups = []
        for row in planned:
            made = self.plans[row.label]
            runs = [budget_run(self._study, self._budget, row, made, seed) for seed in self._study.seeds]
            results = {run.name: read_result(self._study, run) for run in runs}
            for name, result in results.items():
                self._note(name, result, made)
            groups.append(Group(row.label, [result for result in results.values() if result], row))
        return groups

    def _note(self, name: str, result: Result | None, made: Plan) -> None:
        if result is None or not set(self._study.sets) <= result.sets.keys():
            self.missing.append(name)
        if result and result.cost:
            error = (made.preparation + result.cost.seconds) / self._study.seconds[self._budget] - 1
            if abs(error) > OFF:
                self.off[name] = error
