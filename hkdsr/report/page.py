"""One HTML file that shows a run: opened from disk, it asks no network for anything.

The page states what it is given and nothing else: numbers, protocol and recipe come from the caller, and all that is
chosen here is which crops to enlarge.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from hkdsr.files import write_atomically
from hkdsr.report.content import Report
from hkdsr.report.curves import training
from hkdsr.report.slider import images
from hkdsr.report.table import results


def write_report(report: Report, path: str | Path) -> None:
    """Write the page, in a new folder if need be; it appears whole or not at all.

    Raises HkdsrError if a comparison's images are not uint8 RGB of one size or lack one of ``compared``, and if the
    file cannot be written.
    """
    write_atomically(Path(path), render(report).encode())


def render(report: Report) -> str:
    """The page as HTML. Raises HkdsrError for images as ``write_report`` does."""
    recipe = f"<details><summary>Show the recipe</summary><pre>{escape(report.recipe_text)}</pre></details>"
    sections = {
        "Results": results(report.rows, report.protocol),
        "Images": images(report.comparisons, report.compared),
        "Training": training(report.curves),
        "Recipe": recipe if report.recipe_text else "",
    }
    return Template(_part("page.html")).substitute(
        title=escape(report.title),
        subtitle=escape(report.subtitle),
        style=_part("page.css"),
        sections="".join(f"<section><h2>{name}</h2>{html}</section>" for name, html in sections.items() if html),
        script=_part("page.js"),
    )


def _part(name: str) -> str:
    return files("hkdsr.report").joinpath(name).read_text("utf-8")
