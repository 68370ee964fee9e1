"""The tab Distil: what is chosen is checked, shown as a command, and started as a process that outlives the page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gradio as gr

from hkdsr.app import runs
from hkdsr.app.asked import Asked
from hkdsr.app.choices import image_folders, recipes
from hkdsr.app.jobs import Jobs
from hkdsr.app.live import QUIET, Changes, follow, picker
from hkdsr.app.offers import offered
from hkdsr.app.sessions import Session
from hkdsr.app.settings import AppSettings
from hkdsr.app.told import told
from hkdsr.errors import HkdsrError
from hkdsr.methods import METHODS
from hkdsr.nets.files.load import SCALES

MINUTE = 60
"""After so many seconds what can be chosen is looked for again."""
KEPT = "as in the recipe"


def add(settings: AppSettings) -> None:
    """Draw the tab, inside a tab of Gradio, and wire it."""
    jobs = Jobs(settings)
    changes = gr.State(Changes)
    with gr.Row(elem_classes="halves"):
        with gr.Column(min_width=320):
            name = gr.Textbox("distill", label="Name", info="The run's folder.", elem_id="name")
            recipe = gr.Dropdown(
                [], value=None, label="Recipe", info="A TOML file. What is set below goes first.", elem_id="toml"
            )
            teacher = gr.Dropdown([], value=None, label="Teacher", allow_custom_value=True, elem_id="teacher")
            images = gr.Dropdown([], value=None, multiselect=True, label="Training images", elem_id="train")
            val = gr.Dropdown([], value=None, label="Validation images", elem_id="val")
            student = gr.Textbox(label="Student", placeholder="compact:features=32,convs=8", elem_id="student")
            with gr.Row():
                scale = gr.Dropdown([(KEPT, 0), *((f"x{one}", one) for one in SCALES)], value=0, label="Scale")
                method = gr.Dropdown([(KEPT, ""), *METHODS], value="", label="Method", elem_id="method")
                steps = gr.Number(0, label="Steps", info=f"0: {KEPT}", precision=0, minimum=0, elem_id="steps")
        with gr.Column(min_width=320):
            command = gr.Textbox(label="Command", interactive=False, lines=3, buttons=["copy"], elem_id="command")
            with gr.Row():
                check = gr.Button("Check", elem_id="check")
                start = gr.Button("Start", variant="primary", elem_id="start")
            said = gr.Textbox(label="Check", interactive=False, lines=2, elem_id="said")
            job = gr.Dropdown([], label="Started here", elem_id="job")
            with gr.Row():
                stop = gr.Button("Stop", variant="stop", elem_id="stop")
                resume = gr.Button("Resume", elem_id="resume")
            state = gr.Markdown(elem_id="state")
            log = gr.Textbox(label="Output", interactive=False, lines=10, max_lines=18, elem_id="log")
    fields = [name, recipe, teacher, student, images, val, scale, method, steps]

    def asked(name: str, *chosen: Any) -> Asked:
        recipe, teacher, student, images, val, scale, method, steps = chosen
        return Asked(
            name.strip(),
            recipe or "",
            teacher or "",
            student.strip(),
            tuple(images or ()),
            val or "",
            scale or 0,
            method or "",
            int(steps or 0),
        )

    @told
    def checked(*chosen: Any) -> str:
        return jobs.check(asked(*chosen))

    @told
    def started(*chosen: Any) -> Any:
        one = asked(*chosen)
        jobs.start(one)
        return gr.Dropdown(jobs.names(), value=one.name)

    @told
    def stopped(job: str | None) -> None:
        jobs.stop(job or "")
        gr.Info("It ends after the step in hand, with a checkpoint.")

    @told
    def resumed(job: str | None) -> None:
        jobs.resume(job or "")

    def written(*chosen: Any) -> str:
        try:
            return jobs.command(asked(*chosen))
        except HkdsrError as error:
            return str(error)

    @told
    def look(job: str | None, was: Changes) -> list[Any]:
        names = jobs.names()
        chosen = job if job in names else next(iter(names), None)
        now = was.of("choices", time.monotonic() // MINUTE, lambda: _choices(settings))
        return [
            *(now if isinstance(now, list) else 4 * [gr.skip()]),
            was.of("job", (names, chosen), lambda: picker(names, chosen, job)),
            _state(settings, chosen) if chosen else "Nothing was started from this page yet.",
            jobs.log(chosen) if chosen else "",
            was,
        ]

    outputs = [teacher, images, val, recipe, job, state, log, changes]
    follow(look, "#command", [job.input], [job, changes], outputs)
    gr.on([field.change for field in fields], written, fields, command, **QUIET)
    check.click(checked, fields, said, api_visibility="private")
    start.click(started, fields, job, api_visibility="private")
    stop.click(stopped, job, api_visibility="private")
    resume.click(resumed, job, api_visibility="private")


def _state(settings: AppSettings, name: str) -> str:
    run = runs.named(settings.runs, name)
    return f"**{run.state}**, step {run.step:,}" + (f" of {run.steps:,}" if run.steps else "")


def _choices(settings: AppSettings) -> list[gr.Dropdown]:
    """What the fields teacher, training images, validation images and recipe offer."""
    teachers = [(name, str(path)) for name, path in offered(settings.networks, Session(Path())).items()]
    folders = image_folders(settings.images or settings.networks)
    files = recipes(settings.networks)
    return [
        gr.Dropdown(teachers),
        gr.Dropdown(folders),
        gr.Dropdown([("none", ""), *folders]),
        gr.Dropdown([("none", ""), *files]),
    ]
