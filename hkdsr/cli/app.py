"""``hkdsr app``."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import tyro

from hkdsr.cli.output import show


@dataclass(frozen=True)
class App:
    """Open a local web page: enlarge images, watch trainings, start them."""

    networks: Path = Path()
    """The folder whose network files are offered beside the shipped ones; by default the one that you are in."""
    runs: Path = Path("runs")
    """The folder of the trainings to watch, and of those that the page starts."""
    images: Path | None = None
    """The folder in which training images may be chosen."""
    host: str = "127.0.0.1"
    """The address to listen on. Any other than this computer's own needs --auth."""
    port: int = 7860
    """The port to listen on; 0 takes a free one."""
    share: bool = False
    """Also make an address on the internet, by a tunnel of Gradio's makers. Needs --auth."""
    auth: str | None = None
    """Who may use the page, as user:password."""
    allow_models: bool = False
    """Let visitors bring network files of their own. They are read as upscale -m reads them: no code in them is run."""
    max_upload_mb: float = 500
    """The largest file to take, in MB."""
    max_pixels: int = 120_000_000
    """The most pixels that an image may have, by its header."""
    queue: int = 16
    """How many requests may wait. The others are told that the page is busy."""
    device: str = "auto"
    """``auto`` takes the first GPU if there is one; or cpu, cuda:1 ..."""


def run(arguments: list[str]) -> None:
    """Serve the page until Ctrl-C. Raises HkdsrError as ``AppSettings`` and ``served`` do."""
    given = tyro.cli(App, prog="hkdsr app", args=arguments)
    from hkdsr.app.settings import AppSettings

    settings = AppSettings(**vars(given))
    from hkdsr.app.page import served

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # temporary files go whoever ends the page
    with served(settings) as address:
        show(f"open {address} in a browser; Ctrl-C ends")
        threading.Event().wait()
