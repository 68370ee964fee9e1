"""What a leaderboard consists of."""

from __future__ import annotations

from dataclasses import dataclass

from hkdsr.studies.budgets.measurement import RowMeasurement
from hkdsr.studies.budgets.plan import Plan
from hkdsr.studies.leaderboard.statistics import Difference
from hkdsr.studies.results import Cost


@dataclass(frozen=True)
class Scores:
    """A row's scores on one set: PSNR-Y in dB, with its standard deviation over seeds, and SSIM-Y.

    ``by_seed`` are the mean PSNRs of each seed, ``by_image`` the PSNRs of each image, averaged over seeds. ``gap`` is
    the fraction of the gap between plain training and the teacher that the row closes; ``to_plain`` and ``to_best`` are
    differences in PSNR to the plain row and to the best student, None where that is the row itself or is not finished.
    ``is_student`` is False for bicubic and the teacher.
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
class RowTraining:
    """How a row was trained. ``cost`` holds means over seeds; its peak memory, in bytes, is the highest.

    ``wall_clock`` is the seconds of training divided by those of the plain row, None where there is no plain row yet.
    Only that row has ``is_plain``.
    """

    method: str
    init: str
    is_plain: bool
    seconds_by_seed: tuple[float, ...]
    cost: Cost
    wall_clock: float | None


@dataclass(frozen=True)
class Entry:
    """One line of the table, its scores by set; bicubic and the teacher have no ``training``."""

    label: str
    sets: dict[str, Scores]
    training: RowTraining | None


@dataclass(frozen=True)
class Leaderboard:
    """All of a leaderboard.

    ``images`` are the names of the images of each set, ``facts`` holds sizes and hashes of teacher and student,
    ``controls`` says where the steps of the control rows come from, ``unfinished`` names the runs that are missing,
    each with the reason where it is known.
    """

    entries: tuple[Entry, ...]
    protocols: tuple[str, ...]
    images: dict[str, tuple[str, ...]]
    facts: dict[str, str]
    controls: str
    unfinished: dict[str, str]


@dataclass(frozen=True)
class BudgetBoard:
    """The leaderboard of one budget: rows for which ``plans`` has no steps are not in it.

    ``off`` names the runs that took over 10 % more or less than ``seconds``, the measured preparation included, each
    with its relative error: 0.2 for 20 % more.
    """

    budget: str
    seconds: float
    plans: dict[str, Plan]
    board: Leaderboard
    off: dict[str, float]


@dataclass(frozen=True)
class BudgetBoards:
    """The leaderboards of all budgets, the shortest first, and what was measured before; rows go by their labels."""

    measurement: dict[str, RowMeasurement]
    budgets: tuple[BudgetBoard, ...]
