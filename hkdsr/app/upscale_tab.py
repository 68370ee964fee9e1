"""The tab Upscale: images in, networks chosen, results compared by a slider and downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from hkdsr.app import offers
from hkdsr.app.sessions import Session, Sessions
from hkdsr.app.told import told
from hkdsr.data.decode import require_size
from hkdsr.data.images import SUFFIXES
from hkdsr.deploy.card import card_text
from hkdsr.errors import HkdsrError
from hkdsr.report.views import enlarge_all
from hkdsr.settings.app import AppSettings
from hkdsr.stop import CancelledError, Stop

DEFAULT = "small_x2"
CANCELLED = "Cancelled."
TOO_LARGE = "use hkdsr upscale, or start the page with --max-pixels"
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden"}


def add(page: gr.Blocks, settings: AppSettings, sessions: Sessions) -> None:
    """Draw the tab on ``page``, inside a tab of Gradio, and wire it."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            images = _files("Images", "images", height=150)
            chosen = gr.Dropdown(
                list(offers.offered(settings.networks)),
                value=[DEFAULT],
                multiselect=True,
                label="Networks",
                elem_id="networks",
                info="Each of them makes an image. Network files of the working folder are offered too.",
            )
            with gr.Row():
                start = gr.Button("Enlarge", variant="primary", scale=3, min_width=120, elem_id="enlarge")
                cancel = gr.Button("Cancel", scale=1, min_width=90, elem_id="cancel")
            with gr.Accordion("Compare with HR", open=False):
                truth = _files("HR images, of the same names", "truth")
            with gr.Accordion("Bring a network", open=False, visible=settings.allow_models):
                brought = _files("Network files", "brought", (*offers.SUFFIXES, *offers.BESIDE))
        with gr.Column(scale=3, min_width=320):
            image = gr.Dropdown([], label="Image", visible=False, elem_id="image")
            with gr.Row():
                left = gr.Dropdown([], label="Left", elem_id="left", min_width=120)
                right = gr.Dropdown([], label="Right", elem_id="right", min_width=120)
            slider = gr.ImageSlider(show_label=False, elem_id="slider", max_height=640, buttons=["fullscreen"])
            text = gr.Markdown("Drop an image, press Enlarge, and drag the line.", elem_id="result")
            files = gr.File(label="Download", interactive=False, visible=False, elem_id="files", height=150)
            with gr.Accordion("About the network", open=True):
                about = gr.Markdown(elem_id="card")

    def session(request: gr.Request) -> Session:
        return sessions.of(request.session_hash)

    def known(request: gr.Request) -> dict[str, str | Path]:
        return offers.offered(settings.networks, session(request).networks)

    @told
    def begin(images: list[str] | None, request: gr.Request) -> None:
        session(request).stop = Stop()  # the work that was cancelled keeps its own
        if not images:
            raise HkdsrError("there are no images yet: drop one on the page, or choose a file")
        for path in images:
            require_size(session(request).adopt(path), settings.max_pixels, TOO_LARGE)

    @told
    def work(
        uploads: list[str],
        names: list[str],
        truths: list[str] | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio looks for this default
    ) -> tuple[Any, ...]:
        mine, stop, models = session(request), session(request).stop, known(request)
        sources, hr = ([mine.adopt(path) for path in paths or ()] for paths in (uploads, truths))
        if not names or not models.keys() >= set(names):
            raise HkdsrError("no network is chosen: choose one or more")
        upscalers = offers.opened([models[name] for name in names], settings.device, sources)
        networks = dict(zip(names, upscalers, strict=True))
        try:
            with mine.new_results() as folder:
                shown, made = enlarge_all(sources, networks, hr, folder, stop, progress)
        except CancelledError:
            return *[gr.skip()] * 4, CANCELLED, gr.skip()
        mine.shown, first = shown, next(iter(shown))
        picker = gr.Dropdown(list(shown), value=first, visible=len(shown) > 1)
        return picker, *switch(first, None, None, request), gr.File([str(file) for file in made], visible=True)

    @told
    def switch(image: str | None, left: str | None, right: str | None, request: gr.Request) -> tuple[Any, ...]:
        """What the two choices and the slider show: the views that are asked for, if the image has them."""
        shown = session(request).shown.get(image or "")
        if shown is None:
            return (gr.skip(),) * 4
        names = list(shown.views)
        sides = [one if one in names else names[place] for place, one in enumerate((left, right))]
        pair = (str(shown.views[sides[0]]), str(shown.views[sides[1]]))
        return *(gr.Dropdown(names, value=one) for one in sides), pair, shown.text

    @told
    def describe(names: list[str], request: gr.Request) -> str:
        models = known(request)
        return "\n\n---\n\n".join(card_text(name, models[name]) for name in names if name in models)

    @told
    def refresh(names: list[str], request: gr.Request) -> Any:
        models = known(request)
        return gr.Dropdown(list(models), value=[name for name in names if name in models])

    @told
    def bring(uploads: Sequence[str], names: list[str], request: gr.Request) -> Any:
        session(request).bring(uploads)
        return refresh(names, request)

    def leave(request: gr.Request) -> None:
        sessions.end(request.session_hash)

    def stop(request: gr.Request) -> str:
        session(request).stop.give()
        return CANCELLED

    checked = start.click(begin, images, None, **QUICK)
    running = checked.success(
        work,
        [images, chosen, truth],
        [image, left, right, slider, text, files],
        concurrency_id="work",
        show_progress_on=[slider, files],
    )
    cancel.click(stop, None, text, cancels=[running], **QUICK)
    for choice in (image, left, right):
        choice.input(switch, [image, left, right], [left, right, slider, text], **QUICK)
    if settings.allow_models:
        brought.upload(bring, [brought, chosen], chosen, **QUICK)
    gr.on(None, describe, chosen, about, **QUICK)  # when the page opens, and when others are chosen
    page.load(refresh, chosen, chosen, **QUICK)
    page.unload(leave)


def _files(label: str, name: str, kinds: Sequence[str] = SUFFIXES, **more: Any) -> gr.File:
    return gr.File(label=label, elem_id=name, file_count="multiple", file_types=list(kinds), **more)
