"""Parts of a page that follow what is on the disk while their tab is shown, and send only what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

SECONDS = 2.0
"""After so long a tab that is shown looks again."""
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Events that visitors do not wait for, and that do not wait for the images of others."""


class Sent:
    """What a visitor's page shows, so that only what has changed is sent, and nothing flickers."""

    def __init__(self) -> None:
        self._known: Sequence[int] = ()

    def new(self, *values: object) -> list[Any]:
        """The values, without those that were there the last time."""
        before, self._known = self._known or [None] * len(values), [hash(str(value)) for value in values]
        both = zip(values, before, self._known, strict=True)
        return [gr.skip() if old == new else value for value, old, new in both]
