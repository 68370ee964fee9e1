"""The leaderboards of a study with budgets in Markdown: one page with the tables of every budget."""

from __future__ import annotations

from collections.abc import Sequence

from hkdsr.studies.budgets.measurement import RowMeasurement
from hkdsr.studies.budgets.plan import Plan
from hkdsr.studies.leaderboard.content import BudgetBoard, BudgetBoards, RowTraining
from hkdsr.studies.leaderboard.markdown import (
    DIFFERENCES,
    NONE,
    PASSES,
    SCORES,
    conditions,
    devices,
    differences,
    label,
    passes_and_memory,
    score_table,
    seconds_text,
    table,
    unfinished,
)
from hkdsr.studies.published import Table
from hkdsr.studies.published import markdown as published_markdown
from hkdsr.studies.study import Study, describe_method

MEASURED = """\
Measured before the first run, and the same for all seeds. A step: relative to one of the plain row, and in ms; where
the teacher's images may come from the disk (cached) or from the teacher run on every crop (live), both, and each budget
takes what gives more steps. Preparation counts in full for every row, also where rows share it: making the pruned start
from the teacher; training and checking the teacher's exits; the teacher's images of all training images, where they are
cached. Steps of a budget: what fits into it after the preparation. **Seconds and milliseconds are those of this
machine: another one has others, and takes other steps.**"""
COSTS = f"""\
Training: seconds of the training steps, mean over seeds. Sum: with the preparation, as measured, relative to the
budget; scoring and validation are not included. {PASSES}"""


def equal_time_markdown(study: Study, title: str, boards: BudgetBoards, published: Sequence[Table], image: str) -> str:
    """The whole page. It ends with the ``published`` tables; ``image`` is the name of the chart's file."""
    first = boards.budgets[0].board
    names = " and ".join(filter(None, (", ".join(b.budget for b in boards.budgets[:-1]), boards.budgets[-1].budget)))
    parts = [
        f"# {title}",
        conditions(study, first, f"for {names} with all preparation, in steps"),
        f"![PSNR-Y of every row over seconds]({image})",
        *first.protocols,
    ]
    for found in boards.budgets:
        parts += _budget(study, found)
    parts += [
        "## Measured steps and preparation",
        _measured(study, boards),
        MEASURED,
        f"Measured on: {_devices(boards)}.",
    ]
    parts += ["## Notes", SCORES, DIFFERENCES, COSTS]
    parts += unfinished({name: reason for found in boards.budgets for name, reason in found.board.unfinished.items()})
    if published:
        parts += ["## Published tables", *map(published_markdown, published)]
    return "\n\n".join(parts) + "\n"


def _budget(study: Study, found: BudgetBoard) -> list[str]:
    none = [
        [row.label, describe_method(row.method), row.init, _no_run(made, found), *[NONE] * (len(study.sets) - 1)]
        for row in study.rows
        if (made := found.plans.get(row.label)) and not made.steps
    ]
    parts = [
        f"## {found.budget}",
        score_table(study, found.board, none),
        "Differences to plain training:",
        differences(study, found.board),
        "Costs:",
        _costs(study, found),
        devices(found.board),
    ]
    if found.off:
        runs = ", ".join(f"{name} ({100 * error:+.0f} %)" for name, error in found.off.items())
        parts.append(f"**Not equal in time:** these runs took over 10 % more or less than their budget: {runs}.")
    return parts


def _no_run(made: Plan, found: BudgetBoard) -> str:
    step = "" if made.preparation >= found.seconds else f", a step {made.step:.2g} s"
    return f"no run: preparation {seconds_text(made.preparation)} s{step}"


def _costs(study: Study, found: BudgetBoard) -> str:
    head = ["", "steps", "teacher's images", "preparation, s", "training, s", "sum / budget"]
    head += ["student passes per step", "teacher passes per step", "memory"]
    lines = ([label(study, e), *_cost(found, e.label, e.training)] for e in found.board.entries if e.training)
    return table(head, lines)


def _cost(found: BudgetBoard, name: str, training: RowTraining) -> list[str]:
    made, cost = found.plans[name], training.cost
    return [
        f"{cost.steps:,}",
        made.teacher_images if cost.teacher_passes or cost.cached_passes else NONE,
        seconds_text(made.preparation) if made.preparation else "0",
        seconds_text(cost.seconds),
        f"{(made.preparation + cost.seconds) / found.seconds:.2f}",
        *passes_and_memory(cost),
    ]


def _measured(study: Study, boards: BudgetBoards) -> str:
    head = ["", "pruned start, s", "exits, s", "images, s", "step", *(f"steps in {b.budget}" for b in boards.budgets)]
    plain = boards.measurement.get(study.plain.label) if study.plain else None
    lines = (
        [
            row.label,
            *(seconds_text(part) if part else NONE for part in (measured.start, measured.exits, measured.images)),
            _step(measured, plain),
            *(_steps(found.plans[row.label], measured) for found in boards.budgets),
        ]
        for row in study.rows
        if (measured := boards.measurement.get(row.label)) and boards.budgets[0].plans
    )
    return table(head, lines)


def _step(measured: RowMeasurement, plain: RowMeasurement | None) -> str:
    def one(seconds: float) -> str:
        ratio = f"{seconds / min(plain.step.values()):.2f}, " if plain else ""
        return f"{ratio}{1000 * seconds:.3g} ms"

    if len(measured.step) == 1:
        return one(*measured.step.values())
    return "; ".join(f"{images} {one(seconds)}" for images, seconds in measured.step.items())


def _steps(made: Plan, measured: RowMeasurement) -> str:
    if not made.steps:
        return NONE
    return f"{made.steps:,}{f' {made.teacher_images}' if len(measured.step) > 1 else ''}"


def _devices(boards: BudgetBoards) -> str:
    return "; ".join(dict.fromkeys(row.device for row in boards.measurement.values())) or "nothing yet"
