"""The tab Upscale: images in, networks chosen, results compared by a slider and downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr

from hkdsr.app import offers
from hkdsr.app.enlarge import enlarge, packed, require_size
from hkdsr.app.sessions import Session, Sessions
from hkdsr.app.settings import AppSettings
from hkdsr.app.told import told
from hkdsr.app.watched import CancelledError, Watch
from hkdsr.data.images import SUFFIXES
from hkdsr.errors import HkdsrError

DEFAULT = "small_x2"
CANCELLED = "Cancelled."
MOST = 200
"""Images at once."""


def add(page: gr.Blocks, settings: AppSettings, sessions: Sessions) -> None:
    """Draw the tab on ``page``, inside a tab of Gradio, and wire it."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            images = gr.File(
                label="Images", elem_id="images", file_count="multiple", file_types=list(SUFFIXES), height=150
            )
            chosen = gr.Dropdown(
                list(offers.offered(settings.networks, Session(Path()))),
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
                truth = gr.File(
                    elem_id="truth",
                    label="HR images, of the same names",
                    file_count="multiple",
                    file_types=list(SUFFIXES),
                )
            with gr.Accordion("Large images", open=False):
                gr.Markdown(
                    "Files are always whole. On the page, results of over 2048 pixels a side are shown in part."
                )
                across = gr.Slider(0, 100, 50, step=1, label="Part shown, from left to right (%)")
                down = gr.Slider(0, 100, 50, step=1, label="Part shown, from top to bottom (%)")
            with gr.Accordion("Bring a network", open=False, visible=settings.allow_models):
                kinds = [*offers.SUFFIXES, *offers.BESIDE]
                brought = gr.File(label="Network files", file_count="multiple", file_types=kinds)
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

    @told
    def begin(images: list[str] | None, request: gr.Request) -> None:
        session(request).stop = Event()  # the work that was cancelled keeps its own
        if not images:
            raise HkdsrError("there are no images yet: drop one on the page, or choose a file")
        if len(images) > MOST:
            raise HkdsrError(f"these are {len(images)} images: choose up to {MOST} at once, or use hkdsr upscale")
        for path in images:
            require_size(session(request).adopt(path), settings.max_pixels)

    @told
    def work(
        uploads: list[str],
        names: list[str],
        truths: list[str] | None,
        across: float,
        down: float,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio looks for this default
    ) -> tuple[Any, ...]:
        mine, stop = session(request), session(request).stop
        sources, known = [mine.adopt(path) for path in uploads], offers.offered(settings.networks, mine)
        if not names or not known.keys() >= set(names):
            raise HkdsrError("no network is chosen: choose one or more")
        upscalers = offers.opened([known[name] for name in names], settings.device, sources)
        networks = dict(zip(names, upscalers, strict=True))
        hr = _partners(sources, [mine.adopt(path) for path in truths or ()])
        shown, files, count = {}, list[Path](), len(sources)
        try:
            with mine.new_results() as folder:
                for number, source in enumerate(sources):

                    def tell(share: float, tiles: int, number: int = number, name: str = source.name) -> None:
                        progress((number + share) / count, f"{name}, tile {tiles}")

                    (own := folder / str(number)).mkdir()
                    made = enlarge(source, networks, hr.get(source), own, Watch(stop, tell, (down / 100, across / 100)))
                    label = source.name if source.name not in shown else f"{source.name} ({number + 1})"
                    shown[label], files = made.shown(), [*files, *made.files]
                if len(files) > 1:
                    files.insert(0, packed(files, folder))
        except CancelledError:
            return *[gr.skip()] * 4, CANCELLED, gr.skip()
        mine.shown = shown
        picker = gr.Dropdown(list(shown), value=next(iter(shown)), visible=len(shown) > 1)
        downloads = gr.File([str(file) for file in files], visible=True)
        return picker, *pair(next(iter(shown)), None, None, request), downloads

    def pair(image: str | None, left: str | None, right: str | None, request: gr.Request) -> tuple[Any, ...]:
        """What the two choices and the slider show, for the views that are asked for, if the image has them."""
        shown = session(request).shown.get(image or "")
        if shown is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        names = list(shown.views)
        left, right = (_one_of(names, left, 0), _one_of(names, right, 1))
        sides = (str(shown.views[left]), str(shown.views[right]))
        return gr.Dropdown(names, value=left), gr.Dropdown(names, value=right), sides, shown.text

    @told
    def switch(image: str | None, left: str | None, right: str | None, request: gr.Request) -> tuple[Any, ...]:
        return pair(image, left, right, request)

    @told
    def describe(names: list[str], request: gr.Request) -> str:
        known = offers.offered(settings.networks, session(request))
        return "\n\n---\n\n".join(offers.card(name, known[name]) for name in names if name in known)

    @told
    def refresh(names: list[str], request: gr.Request) -> Any:
        known = offers.offered(settings.networks, session(request))
        return gr.Dropdown(list(known), value=[name for name in names if name in known])

    @told
    def bring(uploads: Sequence[str], names: list[str], request: gr.Request) -> Any:
        offers.bring(uploads, session(request))
        return refresh(names, request)

    def leave(request: gr.Request) -> None:
        sessions.end(request.session_hash)

    def stop(request: gr.Request) -> str:
        session(request).stop.set()
        return CANCELLED

    quick = {"queue": False, "show_progress": "hidden"}
    outputs = [image, left, right, slider, text, files]
    checked = start.click(begin, images, None, **quick)
    running = checked.success(
        work, [images, chosen, truth, across, down], outputs, concurrency_id="work", show_progress_on=[slider, files]
    )
    cancel.click(stop, None, text, cancels=[running], **quick)
    for choice in (image, left, right):
        choice.input(switch, [image, left, right], [left, right, slider, text], **quick)
    if settings.allow_models:
        brought.upload(bring, [brought, chosen], chosen, **quick)
    gr.on(None, describe, chosen, about, show_progress="hidden")  # when the page opens, and when others are chosen
    page.load(refresh, chosen, chosen, **quick)
    page.unload(leave)


def _partners(sources: Sequence[Path], truths: Sequence[Path]) -> Mapping[Path, Path]:
    """HR by image: of the same name, or the only one of each."""
    if len(sources) == len(truths) == 1:
        return {sources[0]: truths[0]}
    by_name = {truth.stem: truth for truth in truths}
    return {source: by_name[source.stem] for source in sources if source.stem in by_name}


def _one_of(names: Sequence[str], asked: str | None, otherwise: int) -> str:
    return asked if asked and asked in names else names[min(otherwise, len(names) - 1)]
