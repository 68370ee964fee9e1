"""``hkdsr report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from hkdsr.cli.output import show, show_written


@dataclass(frozen=True)
class Report:
    """Write one HTML page about a training, finished or not: scores, images to compare, curves and the recipe."""

    run: Positional[Path]
    """The folder ('out') of a training."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write; by default report.html in the run's folder."""
    images: tuple[Path, ...] = ()
    """HR images, or folders of them, to score and to show; by default the recipe's data.val if it is still there, else
    the demo's photographs (of hkdsr[demo]). For a run with data.lr_only, LR images, which are compared with the
    teacher's."""
    against: tuple[str, ...] = ()
    """Further runs (folders) and networks (checkpoints, names of shipped networks, or code) to compare with."""
    device: str = "auto"
    """``auto`` takes the first GPU if there is one; or cpu, cuda:1 ..."""


def run(arguments: list[str]) -> None:
    """Write the page and show its table. Raises HkdsrError as ``read_sources`` and ``run_report`` do."""
    settings = tyro.cli(Report, prog="hkdsr report", args=arguments)
    from hkdsr.devices import pick_device
    from hkdsr.paths import matching_paths, require_writable, user_path
    from hkdsr.report import write_report
    from hkdsr.report.run_report import read_sources, run_report
    from hkdsr.report.text import text_table

    folder = user_path(settings.run)
    student, others = read_sources(folder, settings.against)
    output = user_path(settings.output or folder / "report.html")
    require_writable(output)
    device = pick_device(settings.device, "--device")
    report = run_report(student, others, matching_paths(settings.images), device)
    write_report(report, output)
    for line in text_table(report.rows):
        show(line)
    show_written(output)
