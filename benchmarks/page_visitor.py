"""The page of ``hkdsr app``, and visitors that use it without a browser, as programs may."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

API = "gradio_api"


@contextmanager
def page(folder: Path, *flags: str) -> Iterator[tuple[str, int]]:
    """A page in a process of its own, whose networks and runs are in ``folder``: its address and the process."""
    for name in ("networks", "runs"):
        (folder / name).mkdir(exist_ok=True)
    folders = ["--networks", str(folder / "networks"), "--runs", str(folder / "runs")]
    command = [sys.executable, "-m", "hkdsr", "app", "--port", "0", *folders, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().split()[1], process.pid
        finally:
            process.terminate()


class RefusedError(Exception):
    """What the page says instead of doing what was asked."""


class Visitor:
    """One who asks the page at ``address``; ``key`` is what a browser would draw."""

    def __init__(self, address: str) -> None:
        self.client = httpx.Client(base_url=address, timeout=120, trust_env=False)
        weakref.finalize(self, self.client.close)
        self.key = secrets.token_hex(6)
        self.events = {one["api_name"]: one["id"] for one in self.client.get("config").json()["dependencies"]}

    def upload(self, *paths: Path) -> list[str]:
        """Where the page put the files."""
        answer = self.client.post(f"{API}/upload", files=[("files", (path.name, path.read_bytes())) for path in paths])
        if answer.status_code != httpx.codes.OK:
            raise RefusedError(answer.text)
        return answer.json()

    def join(self, event: str, *data: object) -> str:
        """Ask for an event; returns its number."""
        asked = {"data": data, "fn_index": self.events[event], "session_hash": self.key}
        answer = self.client.post(f"{API}/queue/join", json=asked)
        if answer.status_code != httpx.codes.OK:
            raise RefusedError(
                answer.json().get("detail", "") if "json" in answer.headers["content-type"] else answer.text
            )
        return answer.json()["event_id"]

    def messages(self) -> Iterator[dict[str, Any]]:
        """What the page tells about the events that were asked for."""
        with self.client.stream("GET", f"{API}/queue/data", params={"session_hash": self.key}) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def result(self) -> list[Any]:
        """What the event that was asked for gives. Raises RefusedError with the sentence on the page."""
        for told in self.messages():
            if told["msg"] == "process_completed":
                if not told["success"]:
                    raise RefusedError(told["output"]["error"])
                return told["output"]["data"]
        raise RefusedError("the page said nothing")

    def ask(self, event: str, *data: object) -> list[Any]:
        """The result of an event."""
        self.join(event, *data)
        return self.result()

    def enlarge(
        self, uploads: Sequence[str], networks: Sequence[str] = ("tiny_x4",), truths: Sequence[str] = ()
    ) -> dict[str, Any]:
        """What the page shows once it has enlarged the files, by the name of its part."""
        self.ask("begin", files(uploads))
        shown = self.ask("work", files(uploads), networks, files(truths))
        return dict(zip(("image", "left", "right", "slider", "text", "files"), shown, strict=True))

    def fetch(self, path: str) -> httpx.Response:
        """A file of the page."""
        return self.client.get(f"{API}/file={path}")

    def leave(self, during: float = 0.2) -> None:
        """Open the line that browsers hold, and close it, which tells the page that the visitor is gone."""
        with self.client.stream("GET", f"{API}/heartbeat/{self.key}") as answer:
            next(answer.iter_raw())


def files(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Files as browsers name them."""
    return [{"path": path, "orig_name": Path(path).name, "meta": {"_type": "gradio.FileData"}} for path in paths]


def downloads(shown: dict[str, Any]) -> list[str]:
    """The paths of the files that are offered."""
    return [file["path"] for file in shown["files"]["value"]]
