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
    """Run a study: methods x seeds on one teacher, student, data set and budget; or show what papers printed.

    After a kill, the same command continues the study. Started several times, also on several GPUs (each with its own
    CUDA_VISIBLE_DEVICES), the processes share the work. It ends with leaderboard.md, .json and .svg in the study's
    folder.
    """

    study: Annotated[Positional[Path | None], tyro.conf.arg(metavar="STUDY.toml")] = None
    """The study's TOML file."""
    published: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[WORD ...]")] = None
    """Show published tables instead, of networks and scales such as 'rcan x4'; without a word, list all tables."""


def run(arguments: list[str]) -> None:
    """Run or continue a study, or show published tables.

    Raises HkdsrError for every mistake in the study, and where neither or both are asked for.
    """
    settings = tyro.cli(Compare, prog="hkdsr compare", args=arguments)
    if (settings.study is None) == (settings.published is None):
        raise HkdsrError("name a study to run or --published tables to show: hkdsr compare STUDY.toml")
    if settings.published is not None:
        from hkdsr.studies.published import described

        show(described(settings.published))
    elif settings.study is not None:
        from hkdsr.studies.runs.run import compare

        compare(settings.study)
