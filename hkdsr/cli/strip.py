"""``hkdsr strip``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from hkdsr.cli.output import show_written


@dataclass(frozen=True)
class Strip:
    """Show networks of one scale side by side: the same square of an HR image by each network, with scores."""

    hr: Positional[Path]
    """The HR image; it is reduced by MATLAB's bicubic to make the LR input."""
    networks: Positional[tuple[str, ...]]
    """Checkpoints, shipped networks' names, code as FILE.py:NAME:setting=value,..., or 'bicubic'."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("strip.png")
    """The image file to write."""
    at: tuple[int, int] | None = None
    """Top and left of the square in HR pixels; by default the square where bicubic differs most from HR."""
    side: int = 64
    """Side of the square in HR pixels."""


def run(arguments: list[str]) -> None:
    """Write the strip. Raises HkdsrError as ``write_strip`` does."""
    settings = tyro.cli(Strip, prog="hkdsr strip", args=arguments)
    from hkdsr.report.strip import write_strip

    write_strip(settings.hr, settings.networks, settings.output, settings.at, settings.side)
    show_written(settings.output)
