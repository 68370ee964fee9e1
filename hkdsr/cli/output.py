"""What the command line shows: results on standard output, messages and mistakes on standard error.

Messages are those that the package logs. ``--quiet`` leaves warnings, ``--verbose`` adds details.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

LEVELS = {"--quiet": logging.WARNING, "--verbose": logging.DEBUG}


def configure(arguments: Sequence[str]) -> list[str]:
    """Set up messages as ``--quiet`` or ``--verbose`` asks for; returns the other arguments."""
    asked = [word for word in arguments if word in LEVELS]
    logger = logging.getLogger("hkdsr")
    logger.setLevel(LEVELS[asked[-1]] if asked else logging.INFO)
    logger.handlers = [_Messages()]
    logger.propagate = False
    return [word for word in arguments if word not in LEVELS]


def show(text: str) -> None:
    """Print a result."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Print the sentence that ends a command."""
    print(text, file=sys.stderr, flush=True)


class _Messages(logging.Handler):
    """Writes through a progress bar, if there is one, so that neither breaks the other's line."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.WARNING:
            text = f"note: {text}"
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()
