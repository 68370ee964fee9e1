"""The page: its tabs, its looks, and the server that answers on this computer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Base
from starlette.middleware import Middleware

from hkdsr.app import distil_tab, runs_tab, upscale_tab
from hkdsr.app.guard import Guard
from hkdsr.app.live import QUIET
from hkdsr.app.sessions import Sessions
from hkdsr.data.notes import MAX_PIXELS
from hkdsr.errors import HkdsrError
from hkdsr.settings.app import AppSettings

HERE = Path(__file__).parent
OFF = ("enable_monitoring", "inline", "mcp_server", "pwa", "run_history", "show_error", "ssr_mode")
"""What Gradio could do further."""
PARTS = (("style", "page.css"), ("script", "page.js"))
LIFE = 86_400
"""Seconds after which files go even if their visitor never left."""


@contextmanager
def served(settings: AppSettings) -> Iterator[str]:
    """The address of the page, which is there until the end of the block. Messages about requests are not printed.

    Raises HkdsrError if the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="hkdsr-app-") as folder, _environment(Path(folder).resolve(), settings):
        root = Path(folder).resolve()
        page = _page(settings, root)
        try:
            yield _launched(page, settings, root)
        finally:
            page.close(verbose=False)


@contextmanager
def _environment(root: Path, settings: AppSettings) -> Iterator[None]:
    """Inside, Gradio writes to ``root`` only and asks no other server."""
    before = dict(os.environ)
    # What Gradio reads there may open more, such as folders that every request may read.
    own = {name: value for name, value in before.items() if not name.startswith("GRADIO_")} | {
        "GRADIO_TEMP_DIR": str(root),
        "GRADIO_EXAMPLES_CACHE": str(root / "examples"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"])),
        MAX_PIXELS: str(settings.max_pixels),
    }
    os.environ.clear()
    os.environ |= own
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def _page(settings: AppSettings, root: Path) -> gr.Blocks:
    with gr.Blocks(title="hkdsr", analytics_enabled=False, delete_cache=(LIFE // 24, LIFE)) as page:
        gr.Markdown("# hkdsr\n\nSmall networks that enlarge images: use them, watch them learn.", elem_id="head")
        with gr.Tabs() as tabs:
            with gr.Tab("Upscale"):
                upscale_tab.add(page, settings, Sessions(root))
            with gr.Tab("Runs") as runs:
                watch_runs = runs_tab.add(runs, settings.runs)
            with gr.Tab("Distil") as distil:
                watch_job = distil_tab.add(distil, settings)

        def turn(event: gr.SelectData) -> list[Any]:
            """Only the tab that is shown asks what is new."""
            return [gr.Timer(active=event.value == one.label) for one in (runs, distil)]

        tabs.select(turn, None, [watch_runs, watch_job], **QUIET)
    return page.queue(max_size=settings.queue, default_concurrency_limit=1)


def _launched(page: gr.Blocks, settings: AppSettings, root: Path) -> str:
    hosts = () if settings.auth else ("127.0.0.1", "localhost", "::1", settings.host)
    try:
        _, address, shared = page.launch(
            server_name=settings.host,
            server_port=settings.port or None,
            share=settings.share,
            auth=settings.credentials,
            prevent_thread_lock=True,
            quiet=True,
            **dict.fromkeys(OFF, False),
            footer_links=[],
            num_workers=0,
            max_file_size=round(settings.max_upload_mb * 10**6),
            app_kwargs={"middleware": [Middleware(Guard, folder=root, hosts=hosts)]},
            theme=_theme(),
            head="".join(f"<{kind}>{(HERE / name).read_text('utf-8')}</{kind}>" for kind, name in PARTS),
        )
    except OSError as error:
        raise HkdsrError(f"port {settings.port} of {settings.host} is taken: name another with --port") from error
    if settings.share and not shared:
        raise HkdsrError("--share found no way out of this network: leave it out, or use --host and --auth")
    return shared or address


def _theme() -> Base:
    """Fonts of the reader's system, so that none is asked for. Colours are in page.css."""
    text = ["system-ui", "Segoe UI", "Noto Sans", "Arial", "sans-serif"]
    code = ["ui-monospace", "DejaVu Sans Mono", "Consolas", "monospace"]
    return Base(primary_hue="blue", neutral_hue="stone", radius_size="lg", font=text, font_mono=code)
