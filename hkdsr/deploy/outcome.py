"""What became of the images that were to be upscaled, and a report of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hkdsr import __version__
from hkdsr.files import write_atomically

Size = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True)
class Outcome:
    """An image that was written, or skipped because it was there, or failed for a ``reason``, in so many seconds.

    ``folder`` is that of the results, where a folder was named.
    """

    source: Path
    target: Path
    status: Literal["written", "skipped", "failed"]
    seconds: float = 0.0
    size: Size | None = None
    large_size: Size | None = None
    reason: str | None = None
    folder: Path | None = None


def write_report(path: Path, outcomes: Sequence[Outcome], network: str, runtime: str) -> None:
    """Write ``path``, a JSON file: version, network, runtime, and one entry for each image.

    Raises WriteError if it cannot be written.
    """
    images = [
        {
            "input": str(outcome.source),
            "output": None if outcome.status == "failed" else str(outcome.target),
            "status": outcome.status,
            "input_size": outcome.size,
            "output_size": outcome.large_size,
            "seconds": round(outcome.seconds, 3),
            "reason": outcome.reason,
        }
        for outcome in outcomes
    ]
    report = {"hkdsr": __version__, "network": network, "runtime": runtime, "images": images}
    write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())
