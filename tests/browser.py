"""A headless Chromium, and a server for the page that it opens. Tests skip where browser or runtime is missing."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from conftest import REPOSITORY

from hkdsr.deploy.formats.web import VERSION

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DROPPED = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  return transfer;
}"""


def runtime_package() -> Path:
    """The folder of the npm package; set HKDSR_ONNXRUNTIME_WEB to name another one."""
    beside = REPOSITORY / "node_modules" / "onnxruntime-web"
    folder = Path(os.environ.get("HKDSR_ONNXRUNTIME_WEB", beside))
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: npm install onnxruntime-web@{VERSION}")
    return folder


@contextmanager
def chromium() -> Iterator[Callable[..., Browser]]:
    """What starts a browser, with flags."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no program chromium: install the package chromium of your system")
    driver = pytest.importorskip("playwright.sync_api", reason="pip install playwright, of hkdsr[dev]")
    with driver.sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(executable_path=program, args=list(flags))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of ``folder`` on this computer."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def drop(page: Page, file: Path) -> None:
    """Drop an image file on the page."""
    content = base64.b64encode(file.read_bytes()).decode()
    handle = page.evaluate_handle(DROPPED, [file.name, content])
    page.dispatch_event("#drop", "drop", {"dataTransfer": handle})
