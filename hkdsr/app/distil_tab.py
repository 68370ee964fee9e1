"""The tab Distil: what is chosen is checked, shown as a command, and started as a process that outlives the page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from hkdsr.app.live import QUIET, SECONDS, Sent
from hkdsr.app.offers import offered
from hkdsr.app.told import told
from hkdsr.errors import HkdsrError
from hkdsr.methods import METHODS
from hkdsr.nets.files.load import SCALES
from hkdsr.runs import folder
from hkdsr.runs.asked import Asked
from hkdsr.runs.choices import image_folders, recipes
from hkdsr.runs.jobs import Jobs
from hkdsr.settings.app import AppSettings

AS_IN_RECIPE = ("the recipe's", "")


def add(tab: gr.Tab, settings: AppSettings) -> gr.Timer:
    """Draw the tab; what is returned keeps it up to date while it is active."""
    jobs = Jobs(settings.runs, [settings.networks, *([settings.images] if settings.images else [])])
    with gr.Row():
        with gr.Column(min_width=320):
            name = gr.Textbox("distill", label="Name", info="The run's folder.", elem_id="name")
            recipe = _list("Recipe", "toml", info="A TOML file. What is set below goes first.")
            teacher = _list("Teacher", "teacher")
            student = gr.Textbox(label="Student", placeholder="compact:features=32,convs=8", elem_id="student")
            images = _list("Training images", "train", multiselect=True)
            val = _list("Validation images", "val")
            with gr.Row():
                scale = gr.Dropdown([AS_IN_RECIPE, *((f"x{one}", one) for one in SCALES)], value="", label="Scale")
                method = gr.Dropdown([AS_IN_RECIPE, *METHODS], value="", label="Method", elem_id="method")
                steps = gr.Number(0, label="Steps", info="0: the recipe's", precision=0, minimum=0, elem_id="steps")
        with gr.Column(min_width=320):
            command = gr.Textbox(label="Command", interactive=False, lines=3, buttons=["copy"], elem_id="command")
            with gr.Row():
                check = gr.Button("Check", elem_id="check")
                start = gr.Button("Start", variant="primary", elem_id="start")
            said = gr.Textbox(label="Check", interactive=False, lines=2, elem_id="said")
            job = gr.Dropdown([], value=None, allow_custom_value=True, label="Started here", elem_id="job")
            with gr.Row():
                stop = gr.Button("Stop", variant="stop", elem_id="stop")
                resume = gr.Button("Resume", elem_id="resume")
            state = gr.Markdown(elem_id="state")
            log = gr.Textbox(label="Output", interactive=False, lines=10, max_lines=18, elem_id="log")
    fields = [name, recipe, teacher, student, images, val, scale, method, steps]  # as in Asked
    sent = gr.State(Sent)

    def offer() -> list[Any]:
        teachers = [(name, str(path)) for name, path in offered(settings.networks).items()]
        folders = image_folders(settings.images or settings.networks)
        choices = (recipes(settings.networks), teachers, folders, folders)
        return [gr.update(choices=one) for one in choices]

    def written(*chosen: Any) -> str:
        try:
            return jobs.command(Asked(*chosen))
        except HkdsrError as error:
            return str(error)

    @told
    def started(*chosen: Any) -> str:
        jobs.start(Asked(*chosen))
        return chosen[0]

    @told
    def look(job: str | None, sent: Sent) -> list[Any]:
        names = jobs.names()
        if not names:
            return sent.new(gr.update(choices=[]), "Nothing was started from this page yet.", "")
        at = job if job in names else names[0]
        run = folder.named(settings.runs, at)
        done = f"**{run.state}**, step {run.step:,}" + (f" of {run.steps:,}" if run.steps else "")
        return sent.new(gr.update(choices=names, value=at), done, jobs.log(at))

    gr.on([tab.select, *(field.change for field in fields)], written, fields, command, **QUIET)
    check.click(told(lambda *chosen: jobs.check(Asked(*chosen))), fields, said, api_visibility="private")
    start.click(started, fields, job, api_visibility="private")
    stopped = stop.click(told(jobs.stop), job, api_visibility="private")
    stopped.success(lambda: gr.Info("It ends after the step in hand, with a checkpoint."), **QUIET)
    resume.click(told(jobs.resume), job, api_visibility="private")
    tab.select(offer, None, [recipe, teacher, images, val], **QUIET)
    timer = gr.Timer(SECONDS, active=False)
    gr.on([tab.select, timer.tick, job.change], look, [job, sent], [job, state, log], **QUIET)
    return timer


def _list(label: str, name: str, **more: Any) -> gr.Dropdown:
    """A list that is filled once the tab is opened. What else is typed there is refused where it is used."""
    return gr.Dropdown([], value=None, allow_custom_value=True, label=label, elem_id=name, **more)
