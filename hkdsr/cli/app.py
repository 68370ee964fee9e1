"""``hkdsr app``."""

from __future__ import annotations

import signal
import threading
from importlib.util import find_spec

import tyro

from hkdsr.cli.output import show
from hkdsr.errors import HkdsrError


def run(arguments: list[str]) -> None:
    """Serve the page until Ctrl-C.

    Raises HkdsrError if the extra ``app`` is missing, and as ``AppSettings`` and ``served`` do.
    """
    from hkdsr.settings.app import AppSettings

    settings = tyro.cli(AppSettings, prog="hkdsr app", args=arguments)
    if find_spec("gradio") is None:
        raise HkdsrError("hkdsr app needs a package that is missing: pip install 'hkdsr[app]'")
    from hkdsr.app.page import served

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # temporary files go whoever ends the page
    with served(settings) as address:
        show(f"open {address} in a browser; Ctrl-C ends")
        threading.Event().wait()
