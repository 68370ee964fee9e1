"""``hkdsr compare``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from hkdsr.cli.output import show
from hkdsr.errors import HkdsrError


@dataclass(frozen=True)
class Compare:
    """Run a study: compare methods on one teacher, student and data set, at equal steps or equal time; or show
    published tables.

    After a kill, the same command continues the study. Started several times, also on several GPUs (each with its own
    CUDA_VISIBLE_DEVICES), the processes share the work. After each run, leaderboard.md, .json and .svg are written in
    the study's folder.
    """

    study: Annotated[Positional[Path | None], tyro.conf.arg(metavar="STUDY.toml")] = None
    """The study's TOML file."""
    published: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[WORD ...]")] = None
    """Show published tables instead: name networks and scales, as in 'rcan x4', or nothing for a list of tables."""


def run(arguments: list[str]) -> None:
    """Run or continue a study, or show published tables.

    Raises HkdsrError for every mistake in the study, and where neither or both are given.
    """
    settings = tyro.cli(Compare, prog="hkdsr compare", args=arguments)
    if (settings.study is None) == (settings.published is None):
        raise HkdsrError("name a study to run or --published tables to show: hkdsr compare STUDY.toml")
    if settings.published is not None:
        from hkdsr.studies.published import published_text

        show(published_text(settings.published))
    elif settings.study is not None:
        from hkdsr.studies.compare import compare

        compare(settings.study)
