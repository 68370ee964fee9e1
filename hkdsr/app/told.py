"""Mistakes as sentences on the page: what is raised in an event never shows as a traceback."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import gradio as gr

from hkdsr.errors import HkdsrError

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

FOLDER = re.compile(r"\S*/session-[^/\s]+/[^/\s]+/")
"""Where the page keeps a visitor's files."""
SECONDS = 20.0
"""For so long a sentence stays on the page."""


def told(event: Callable[P, R]) -> Callable[P, R]:
    """``event``, whose HkdsrErrors are shown on the page; other errors are logged, and the page says that."""

    @wraps(event)
    def shown(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return event(*arguments, **named)
        except HkdsrError as error:
            text = FOLDER.sub("", str(error))
        except Exception:  # a traceback is for the terminal, whatever it is
            logger.exception("a request to the page failed")
            text = "this went wrong in hkdsr itself: the terminal that runs it shows where"
        text = re.sub(r"^[a-z]+ ", lambda word: word[0].capitalize(), text)  # unless a file's name comes first
        raise gr.Error(text, duration=SECONDS, title="Not done", print_exception=False)

    return shown
