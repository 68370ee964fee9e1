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
    """The settings of the page; folders become absolute paths.

    ``networks`` is the folder whose network files are offered, ``runs`` that of the trainings, which may be missing
    until the first one starts, ``images`` the one from which training images may be chosen. No request reads or
    writes a file outside of them and of a temporary folder. ``auth`` is "user:password". ``max_upload_mb`` is in MB of
    10^6 bytes and ``max_pixels`` in pixels, both of one image; ``queue`` is how many requests may wait.

    Raises HkdsrError for a value out of range, a folder that is missing, and a page that others could reach without
    a password.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    networks: Path = Path()
    runs: Path = Path("runs")
    images: Path | None = None
    auth: str | None = field(default=None, repr=False)
    share: bool = False
    allow_models: bool = False
    max_upload_mb: float = 500
    max_pixels: int = 120_000_000
    queue: int = 16
    device: str = "auto"

    def __post_init__(self) -> None:
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
