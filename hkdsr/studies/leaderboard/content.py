"""What a leaderboard consists of."""

from __future__ import annotations

from dataclasses import dataclass

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
