"""The tab Runs: every training in a folder while it runs, and studies with their leaderboards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from hkdsr.app.live import QUIET, SECONDS, Sent
from hkdsr.app.told import told
from hkdsr.report import watching
from hkdsr.runs import folder
from hkdsr.runs.run import recipe_text

CSS = Path(watching.__file__).with_suffix(".css").read_text("utf-8")
CHOOSE = """element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-run]');
  if (button) trigger('click', {run: button.dataset.run});
});"""


def add(tab: gr.Tab, root: Path) -> gr.Timer:
    """Draw the tab for the runs in the folder ``root``; what is returned keeps it up to date while it is active."""
    table = _html("runs", CHOOSE)
    chosen = gr.Dropdown(
        [],
        multiselect=True,
        max_choices=2,
        allow_custom_value=True,  # a run that is chosen may be deleted
        label="Runs",
        info="One, or two to compare; without a choice the one that wrote last.",
        elem_id="run",
    )
    images, charts = _html("kept"), _html("charts")
    with gr.Accordion("Recipe", open=False):
        compared = _html("compared")
        recipe = gr.Textbox(label="In TOML", interactive=False, max_lines=24, buttons=["copy"], elem_id="recipe")
    study = gr.Dropdown([], value=None, allow_custom_value=True, label="Study", elem_id="study", visible=False)
    board, text = _html("board"), gr.Markdown(elem_id="leaderboard")
    sent = gr.State(Sent)

    @told
    def look(names: list[str], study: str | None, sent: Sent) -> list[Any]:
        found = sorted(folder.found(root), key=lambda run: (run.state != "running", -run.changed))
        runs = [run for name in names for run in found if run.name == name] or found[:1]
        studies = folder.studies(root)
        at = studies.get(study or "") or next(iter(studies.values()), None)
        return sent.new(
            watching.table(found, root),
            gr.update(choices=[run.name for run in found]),
            watching.pictures(runs[0]) if runs else "",
            watching.charts(runs) if runs else "",
            watching.compared(*runs) if len(runs) == 2 else "",
            recipe_text(runs[0].recipe) if runs else "",
            gr.update(choices=list(studies), visible=len(studies) > 1),
            *(watching.study(at, found) if at else ("", "")),
        )

    def choose(event: gr.EventData) -> list[str]:
        return [event.run]

    table.click(choose, None, chosen, **QUIET)
    outputs = [table, chosen, images, charts, compared, recipe, study, board, text]
    timer = gr.Timer(SECONDS, active=False)
    gr.on([tab.select, timer.tick, chosen.change, study.change], look, [chosen, study, sent], outputs, **QUIET)
    return timer


def _html(name: str, click: str | None = None) -> gr.HTML:
    """A part of the page that is drawn by ``hkdsr.report.watching``."""
    return gr.HTML(elem_id=name, css_template=CSS, js_on_load=click, apply_default_css=False)
