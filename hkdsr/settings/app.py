"""What ``hkdsr app`` may be told at its start: where it listens, which folders it may use, and how much it takes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from hkdsr.errors import HkdsrError
from hkdsr.paths import exists, is_folder, user_path
from hkdsr.settings.checks import require_range


@dataclass(frozen=True)
class AppSettings:
    """Open a local web page: enlarge images, watch trainings, start them."""

    networks: Path = Path()
    """The folder whose network files are offered beside the shipped ones; by default the one that you are in."""
    runs: Path = Path("runs")
    """The folder of the trainings to watch, and of those that the page starts. It may come with the first of them."""
    images: Path | None = None
    """The folder in which training images may be chosen."""
    host: str = "127.0.0.1"
    """The address to listen on. Any other than this computer's own needs --auth."""
    port: int = 7860
    """The port to listen on; 0 takes a free one."""
    share: bool = False
    """Also make an address on the internet, by a tunnel of Gradio's makers. Needs --auth."""
    auth: str | None = field(default=None, repr=False)
    """Who may use the page, as user:password."""
    allow_models: bool = False
    """Let visitors bring network files of their own. They are read as upscale -m reads them: no code in them is run."""
    max_upload_mb: float = 500
    """The largest file to take, in MB of 10^6 bytes."""
    max_pixels: int = 120_000_000
    """The most pixels that an image may have, by its header."""
    queue: int = 16
    """How many requests may wait. The others are told that the page is busy."""
    device: str = "auto"
    """``auto`` takes the first GPU if there is one; or cpu, cuda:1 ..."""

    def __post_init__(self) -> None:
        """Make the folders absolute.

        Raises HkdsrError for a value out of range, a folder that is missing, and a page that others could reach
        without a password.
        """
        require_range("port", self.port, 0, 65535)
        require_range("max_upload_mb", self.max_upload_mb, 0.001, 10_000)
        require_range("max_pixels", self.max_pixels, 1)
        require_range("queue", self.queue, 1, 1000)
        if self.auth is not None and not all(self.credentials or ()):
            raise HkdsrError("--auth has no user and password: write it as user:password")
        if self.auth is None and (self.share or not _is_local(self.host)):
            asked = "--share" if self.share else f"--host {self.host}"
            raise HkdsrError(f"{asked} lets others use this page: add --auth user:password, or leave {asked} out")
        for name in ("networks", "runs", "images"):
            self._settle(name)

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password, where they were given."""
        if self.auth is None:
            return None
        user, _, password = self.auth.partition(":")
        return user, password

    def _settle(self, name: str) -> None:
        given = getattr(self, name)
        if given is None:
            return
        folder = user_path(given)
        if not is_folder(folder) and (name != "runs" or exists(folder)):
            raise HkdsrError(f"--{name} {folder} is not a folder: name one that is there")
        object.__setattr__(self, name, folder.resolve())


def _is_local(host: str) -> bool:
    """Whether only programs on this computer reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
