"""The output of the command line: results on standard output, messages and mistakes on standard error.

Messages are those that the package logs. ``--quiet`` leaves warnings, ``--verbose`` adds details. Printing comes after
the work, so it never fails: what the terminal cannot show is escaped, and a closed pipe is left alone.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

LEVELS = {"--quiet": logging.WARNING, "--verbose": logging.DEBUG}


def configure(arguments: Sequence[str]) -> list[str]:
    """Set up messages as ``--quiet`` or ``--verbose`` asks for; returns the other arguments."""
    asked = [word for word in arguments if word in LEVELS]
    logger = logging.getLogger("hkdsr")
    logger.setLevel(LEVELS[asked[-1]] if asked else logging.INFO)
    logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, _Messages)] + [_Messages()]
    logger.propagate = False
    return [word for word in arguments if word not in LEVELS]


def silence() -> None:
    """Write no messages from now on: another process writes them for all. Mistakes are still shown."""
    logging.getLogger("hkdsr").setLevel(logging.CRITICAL)


def show(text: str) -> None:
    """Print a result."""
    _write(f"{text}\n", sys.stdout)


def show_written(path: Path) -> None:
    """Print which file was written."""
    show(f"written: {''.join(sign if sign.isprintable() else '?' for sign in str(path))}")


def complain(text: str) -> None:
    """Print the sentence that ends a command."""
    _write(f"{text}\n", sys.stderr)


class _Messages(logging.Handler):
    """Writes above a progress bar, if there is one, so that neither breaks the other's line."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        mark = "note: " if record.levelno >= logging.WARNING else ""
        with tqdm.external_write_mode(sys.stderr):
            _write(f"{mark}{self.format(record)}\n", sys.stderr)


def _write(text: str, stream: TextIO) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        leave(stream)


def leave(stream: TextIO) -> None:
    """Write nothing more to ``stream``, whose reader has left or whose disk is full.

    Python would try once more when it ends, and fail.
    """
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
