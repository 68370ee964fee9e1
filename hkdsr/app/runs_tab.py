"""The tab Runs: every training in a folder while it runs, and studies with their leaderboards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gradio as gr

from hkdsr.app import runs, shown
from hkdsr.app.live import QUIET, Changes, follow, picker
from hkdsr.app.readings import end_of
from hkdsr.app.run import Run
from hkdsr.app.settings import AppSettings
from hkdsr.app.told import told

CSS = (Path(__file__).parent / "watching.css").read_text("utf-8")
CHOOSE = """element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-run]');
  if (button) trigger('click', {run: button.dataset.run});
});"""
DRAWING = re.compile(r"^!\[.*\]\(.*\)$", re.MULTILINE)
BOARD = "leaderboard"
NARROW = "display: block; overflow-x: auto; white-space: nowrap; max-width: calc(100vw - 3rem)"
STYLE = f"<style>#leaderboard table {{ {NARROW} }}</style>"
NEWEST = 0


def html(name: str, click: str | None = None) -> gr.HTML:
    """A part of the page that is drawn by ``hkdsr.app.shown``."""
    return gr.HTML(elem_id=name, css_template=CSS, js_on_load=click, apply_default_css=False)


def add(settings: AppSettings) -> None:
    """Draw the tab, inside a tab of Gradio, and wire it."""
    root = settings.runs
    changes = gr.State(Changes)
    table = html("runs", CHOOSE)
    with gr.Row(elem_classes="pair"):
        run = gr.Dropdown([], label="Run", elem_id="run", min_width=200)
        other = gr.Dropdown([], label="Beside it", elem_id="other", min_width=200)
        step = gr.Dropdown([], label="Images after step", elem_id="step", min_width=120, visible=False)
    images, charts = html("kept"), html("charts")
    with gr.Accordion("Recipe", open=False):
        compared = html("compared")
        recipe = gr.Textbox(label="In TOML", interactive=False, max_lines=24, buttons=["copy"], elem_id="recipe")
    study = gr.Dropdown([], label="Study", elem_id="study", visible=False)
    board, text = html("board"), gr.Markdown(elem_id="leaderboard")

    @told
    def look(run: str | None, other: str | None, step: int | None, study: str | None, was: Changes) -> list[Any]:
        found = sorted(runs.found(root), key=lambda one: (one.state != "running", -one.changed))
        names, studies = [one.name for one in found], runs.studies(root)
        first = _named(found, run) or (found[0] if found else None)
        second = _named(found, other)
        if second is first:
            second = None
        at_first, at_second = first.name if first else None, second.name if second else ""
        _, steps, files = runs.images(first) if first else ([], [], {})
        at = step if step in steps else max(steps, default=None)
        kept = [key for key in files if not key[1].isdecimal() or key[1] == str(at)]
        name = study if study in studies else next(iter(studies), None)
        seen = [(one.name, one.changed) for one in (first, second) if one]
        return [
            was.of("table", content := shown.table(found, root), lambda: content),
            was.of("run", (names, at_first), lambda: picker(names, at_first, run)),
            was.of("other", (names, at_second), lambda: picker([("nothing", ""), *names], at_second, other)),
            was.of("step", (steps, step), lambda: _steps(steps, step)),
            was.of("images", (seen[:1] and seen[0][0], at, kept), lambda: shown.pictures(first, at) if first else ""),
            was.of("charts", seen, lambda: shown.charts([one for one in (first, second) if one]) if first else ""),
            was.of("compared", seen, lambda: shown.compared(first, second) if first and second else ""),
            was.of("recipe", seen[:1], lambda: runs.recipe_text(first) if first else ""),
            was.of("study", (list(studies), name), lambda: picker(list(studies), name, study)),
            *(_study(was, studies[name], found) if name else ("", "")),
            was,
        ]

    def choose(event: gr.EventData) -> str:
        return event.run

    table.click(choose, None, run, **QUIET)
    inputs = [run, other, step, study, changes]
    outputs = [table, run, other, step, images, charts, compared, recipe, study, board, text, changes]
    follow(look, "#runs", [run.change, other.input, step.input, study.input], inputs, outputs)


def _named(found: list[Run], name: str | None) -> Run | None:
    return next((one for one in found if one.name == name), None)


def _steps(steps: list[int], step: int | None) -> gr.Dropdown:
    choices = [("the newest", NEWEST), *((f"{one:,}", one) for one in reversed(steps))]
    return gr.Dropdown(choices, value=step if step in steps else NEWEST, visible=bool(steps))


def _study(was: Changes, folder: Path, found: list[Run]) -> tuple[Any, Any]:
    """How far a study is with its drawing, and its leaderboard."""
    done = sum(1 for _ in folder.glob("*/result.json"))
    now = [one for one in found if one.state == "running" and one.folder.parent == folder]
    running = "; ".join(f"{one.folder.name} is at step {one.step:,} of {one.steps or 0:,}" for one in now)
    progress = f"<p>{done} results are there. {shown.escape(running)}</p>" if done or now else ""
    page = DRAWING.sub("", end_of(folder / f"{BOARD}.md", 1 << 20)) or "The leaderboard comes with the first results."

    def drawn() -> str:
        return (
            STYLE
            + progress
            + shown.embedded(folder / f"{BOARD}.svg", "svg+xml", "the leaderboard as a drawing", "leaders")
        )

    return was.of("board", (folder, progress, page), drawn), was.of("text", page, lambda: page)
