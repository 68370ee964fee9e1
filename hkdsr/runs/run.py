"""A training as its files describe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hkdsr.runs.readings import is_number, parsed
from hkdsr.training.log import TO_HR, TO_TEACHER

RECENT = 20
"""Lines with losses that the speed is measured over."""

State = Literal["running", "stopped", "finished"]


@dataclass(frozen=True)
class Run:
    """A training in ``folder``; ``name`` is the folder's path in the folder of all runs.

    ``recipe`` holds the flat settings as JSON texts, ``lines`` the end of the log, ``error`` why the run ended, where
    it failed. ``session`` is the last one in ``sessions.jsonl``. ``changed`` is when it wrote last, in seconds since
    1970.
    """

    name: str
    folder: Path
    state: State
    recipe: Mapping[str, str] = field(default_factory=dict)
    lines: Sequence[Mapping[str, Any]] = ()
    session: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    changed: float = 0.0

    @property
    def step(self) -> int:
        """The steps done, as far as they were logged."""
        begun = self.session.get("to_step", self.session.get("from_step", 0))
        return max([int(begun) if is_number(begun) else 0, *(line["step"] for line in self.lines)])

    @property
    def steps(self) -> int | None:
        """The steps that the recipe asks for; None if that is not known."""
        steps = self.setting("training.steps") or self.session.get("steps")
        return int(steps) if is_number(steps) else None

    @property
    def losses(self) -> Mapping[str, float]:
        """The loss terms that were logged last."""
        return next((line["losses"] for line in reversed(self.lines) if "losses" in line), {})

    @property
    def rate(self) -> float | None:
        """The learning rate that was logged last."""
        return next((line["lr"] for line in reversed(self.lines) if is_number(line.get("lr"))), None)

    @property
    def score(self) -> float | None:
        """The validation PSNR in dB that was logged last, to HR or to the teacher."""
        found = (line[name] for line in reversed(self.lines) for name in (TO_HR, TO_TEACHER) if name in line)
        return next(found, None)

    @property
    def speed(self) -> float | None:
        """Steps per second of training, over the last lines of the log."""
        lines = [line for line in self.lines if "losses" in line][-RECENT:]
        if len(lines) < 2:
            return None
        first, last = lines[0], lines[-1]
        seconds = last["seconds"] - first["seconds"]
        return (last["step"] - first["step"]) / seconds if seconds > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds until the last step, validation not counted; None unless it is running."""
        if self.state != "running" or self.steps is None or not self.speed:
            return None
        return max(self.steps - self.step, 0) / self.speed

    def setting(self, name: str) -> Any:
        """The value of a setting of the recipe; None if it is not known."""
        return parsed(self.recipe.get(name, "null"))


def recipe_text(recipe: Mapping[str, str]) -> str:
    """Flat settings in TOML, which ``hkdsr distill`` or ``hkdsr train`` reads. Code is named, its hashes are not."""
    names = [name for name, text in recipe.items() if text != "null" and not name.endswith("_sha256")]
    if "method.use" in names:
        names.remove("method.name")
    return "\n".join(f"{name} = {recipe[name]}" for name in names)
