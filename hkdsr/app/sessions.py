"""What each visitor has on the page: a folder of its own, which goes when the visitor leaves."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from hkdsr.app.offers import is_network
from hkdsr.errors import HkdsrError
from hkdsr.report.views import Shown
from hkdsr.stop import Stop

MOST = 64
"""Visitors whose files are kept; who came first goes first. Programs may ask without ever saying that they leave."""
LEFT_AFTER = 600
"""Seconds after which an upload that grew no more was given up."""


@dataclass
class Session:
    """A visitor's folder, how to ``stop`` the work in hand, what is ``shown`` by image, and uploaded networks.

    ``uploads`` are the files as they were uploaded, with the links to them in the folder; ``results`` is the folder of
    what was made last.
    """

    folder: Path
    stop: Stop = field(default_factory=Stop)
    shown: dict[str, Shown] = field(default_factory=dict)
    networks: dict[str, Path] = field(default_factory=dict)
    uploads: dict[Path, Path] = field(default_factory=dict)
    results: Path | None = None

    def new_folder(self) -> Path:
        """An empty folder in that of the session."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def adopt(self, upload: str, folder: Path | None = None) -> Path:
        """The uploaded file under its own name in the session's folder, or in ``folder`` of it.

        Another visitor may upload the same file, so that one file would be both's, and go with the first one.
        Raises HkdsrError if it is no longer there.
        """
        path = Path(upload)
        if path not in self.uploads or folder is not None:
            link = (folder or self.new_folder()) / path.name
            try:
                os.link(path, link)
            except OSError as error:
                why = "here twice: rename one" if link.exists() else "not here any more: choose it again"
                raise HkdsrError(f"{path.name} is {why}") from error
            self.uploads[path] = link
        return self.uploads[path]

    def bring(self, uploads: Sequence[str]) -> None:
        """Take network files. Raises HkdsrError as ``adopt`` does."""
        folder = self.new_folder()
        links = [self.adopt(upload, folder) for upload in uploads]
        self.networks |= {f"{link.name} (yours)": link for link in links if is_network(link)}

    @contextmanager
    def new_results(self) -> Iterator[Path]:
        """A folder for what is made inside. What was made before goes once that is done; if it fails, the new goes."""
        made = done = self.new_folder()
        try:
            yield made
            done, self.results = self.results, made
        finally:
            if done is not None:
                shutil.rmtree(done, ignore_errors=True)

    def remove(self) -> None:
        """Stop the work in hand and delete all files, uploads too unless others have uploaded them since."""
        self.stop.give()
        for upload, link in self.uploads.items():
            with suppress(OSError):
                if upload.samefile(link):
                    upload.unlink()
                    upload.parent.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """The visitors by the key that their browsers have drawn, which is never part of a path."""

    def __init__(self, root: Path) -> None:
        self._root, self._by_key, self._lock = root, dict[str, Session](), Lock()

    def of(self, key: str | None) -> Session:
        """The session of a visitor, new if there is none yet."""
        with self._lock:
            session = self._by_key.pop(key or "", None)
            if session is None:
                session = Session(Path(tempfile.mkdtemp(prefix="session-", dir=self._root)))
            self._by_key[key or ""] = session  # the last one now
            oldest = [self._by_key.pop(next(iter(self._by_key)))] if len(self._by_key) > MOST else []
        for old in oldest:
            old.remove()
        return session

    def end(self, key: str | None) -> None:
        """Delete what a visitor had, and uploads that were given up."""
        with self._lock:
            session = self._by_key.pop(key or "", None)
        if session is not None:
            session.remove()
        for path in self._root.iterdir():
            with suppress(OSError):
                if path.is_file() and time.time() - path.stat().st_mtime > LEFT_AFTER:
                    path.unlink()
