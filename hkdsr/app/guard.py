"""What a request may ask for: the page's own addresses, and files of the page's temporary folder only.

The library that draws the page has more addresses, among them some that fetch others or tell what is on the computer.
They answer "not found" here, whatever that library thinks of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import disk_usage
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/gradio_api"
FILE, UPLOAD = f"{API}/file=", f"{API}/upload"
PLACES = {
    *("", "/config", "/favicon.ico", "/login", "/login_check", "/logout", "/theme.css"),
    *(f"{API}/{name}" for name in ("cancel", "info", "login_check", "reset", "startup-events", "theme.css")),
    *(f"{API}/{name}" for name in ("queue/data", "queue/join", "run/predict", "upload_progress")),
    UPLOAD,
}
FOLDERS = ("/assets/", "/static/", FILE, f"{API}/heartbeat/")
LARGEST_BODY = 4 * 10**6
"""Bytes of a request that is no upload."""
QUEUE_IS_FULL, TOO_MANY_REQUESTS = 503, 429
"""What Gradio answers, with words that the page replaces by others; and what is answered with words that it shows."""
FULL = "The page is busy, and as many as may wait are waiting: press the button again in a minute."
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""The browser asks no other server, whatever is on the page."""


class Guard:
    """An ASGI layer before ``app``. ``folder`` is the only one whose files requests may name.

    ``hosts`` are the names under which the page may be asked for; without any, every name is one. With them, pages of
    other sites that are open in the same browser cannot use this one.
    """

    def __init__(self, app: ASGIApp, folder: Path, hosts: tuple[str, ...]) -> None:
        self._app, self._folder, self._hosts = app, folder, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it in a sentence."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused is None and scope["method"] == "POST" and scope["path"] != UPLOAD:
            body = await Request(scope, receive).body()
            refused = None if self._may_name(body) else (403, "A file of this request was not uploaded to the page.")
            receive = _again(body, receive)
        if refused is not None:
            await PlainTextResponse(refused[1], refused[0])(scope, receive, send)
            return
        full = False

        async def send_guarded(message: Message) -> None:
            nonlocal full
            if message["type"] == "http.response.start":
                full = message["status"] == QUEUE_IS_FULL
                if full:
                    await JSONResponse({"detail": FULL}, TOO_MANY_REQUESTS)(scope, receive, send)
                MutableHeaders(scope=message).update(HEADERS)
            if not full:
                await send(message)

        await self._app(scope, receive, send_guarded)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        path, headers = scope.get("path", ""), Headers(scope=scope)
        if scope["type"] != "http" or (path.rstrip("/") not in PLACES and not path.startswith(FOLDERS)):
            return 404, "There is nothing at this address."
        if path.startswith(FILE) and not self._inside(path.removeprefix(FILE)):
            return 403, "This file is not one of the page."
        asked = [f"//{headers.get('host', '')}", *filter(None, [headers.get("origin")])]
        if self._hosts and any(_host(address) not in self._hosts for address in asked):
            return 403, "This page answers its own computer only."
        if scope["method"] == "POST":
            length, most = headers.get("content-length", ""), LARGEST_BODY
            if path == UPLOAD:
                most = disk_usage(self._folder).free / 2
            if not length.isdecimal() or int(length) > most:
                return 413, "This is too much to take at once."
        return None

    def _may_name(self, body: bytes) -> bool:
        try:
            return all(map(self._inside, _paths(json.loads(body))))
        except (ValueError, RecursionError):
            return True  # no JSON: forms name no files

    def _inside(self, path: object) -> bool:
        try:
            return isinstance(path, str) and Path(path).resolve().is_relative_to(self._folder)
        except (OSError, ValueError, RuntimeError):
            return False


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _paths(value: Any) -> Iterator[object]:
    """What a request names as files, however deep."""
    if isinstance(value, dict):
        if "path" in value:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _paths(entry)


def _again(body: bytes, receive: Receive) -> Receive:
    """What gives ``body`` once more, and then what follows."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again
