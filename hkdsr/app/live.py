"""Parts of a page that follow what is on the disk while their tab is shown, and send only what has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

SECONDS = 2.0
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Events that visitors do not wait for, and that do not wait for the images of others."""
SEEN = "(...all) => [...all.slice(0, -1), Boolean(document.querySelector('PLACE')?.checkVisibility())]"


class Changes:
    """What a visitor's page shows, so that only what has changed is sent, and nothing flickers."""

    def __init__(self) -> None:
        self._sent: dict[str, object] = {}

    def of(self, name: str, key: object, make: Callable[[], Any]) -> Any:
        """What ``make`` gives if ``key`` is another one than before, else nothing to send."""
        if name in self._sent and self._sent[name] == key:
            return gr.skip()
        self._sent[name] = key
        return make()


def picker(choices: Sequence[Any], chosen: str | None, given: str | None) -> gr.Dropdown:
    """Other choices for a list. What is chosen is sent only if the page did not show it: it may have changed since."""
    if chosen == given:
        return gr.Dropdown(choices, visible=bool(choices))
    return gr.Dropdown(choices, value=chosen, visible=bool(choices))


def follow(
    look: Callable[..., list[Any]],
    place: str,
    triggers: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
) -> None:
    """Call ``look`` when the tab is opened, after ``triggers``, and every two seconds while the tab is shown.

    To be called right inside a tab of Gradio. ``place`` is a selector of something that is always seen there.
    """
    timer = gr.Timer(SECONDS, active=False)
    seen = gr.Checkbox(True, visible=False)

    def asked(*given: Any) -> list[Any]:
        if not given[-1]:
            return [*([gr.skip()] * len(outputs)), gr.Timer(active=False)]
        return [*look(*given[:-1]), gr.skip()]

    tab: Any = timer.parent
    call = (asked, [*inputs, seen], [*outputs, timer])
    js = SEEN.replace("PLACE", place)
    tab.select(lambda: gr.Timer(active=True), None, timer, **QUIET).then(*call, js=js, **QUIET)
    gr.on([timer.tick, *triggers], *call, js=js, **QUIET)
