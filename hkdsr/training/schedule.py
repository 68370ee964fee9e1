"""Learning rate and weight of the method at every step, and what happens when a run is continued with other steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hkdsr.settings.choices import MethodFade
from hkdsr.settings.recipe import DistillRecipe, Training

SETTINGS = ("training.steps", "training.milestones")
"""Settings that may change when a run is continued: steps that are done stay, the others follow the new values."""


def learning_rate(settings: Training, step: int) -> float:
    """The learning rate of ``step`` (from 0).

    ``milestones``: the base rate times ``gamma`` for every milestone (a share of all steps) passed before ``step``.
    ``cosine``: the base rate times (1 + cos(pi step / steps)) / 2.
    """
    if settings.schedule == "cosine":
        return settings.lr * (1 + math.cos(math.pi * step / settings.steps)) / 2
    passed = sum(step >= share * settings.steps for share in settings.milestones)
    return settings.lr * settings.gamma**passed


@dataclass(frozen=True)
class MethodSchedule:
    """When a method takes part: from step ``begin`` to before step ``end``, which need not be whole numbers."""

    begin: float = 0.0
    end: float = math.inf
    fade: MethodFade = "none"

    def weight(self, step: int) -> float:
        """The weight of the method's loss at ``step`` (from 0), from 0 to 1; the rest is that of plain training."""
        if not self.begin <= step < self.end:
            return 0.0
        if self.fade == "none":
            return 1.0
        passed = (step - self.begin) / (self.end - self.begin)
        return passed if self.fade == "in" else 1 - passed


def method_schedule(recipe: DistillRecipe) -> MethodSchedule:
    """That of a recipe's ``method_from``, ``method_until`` and ``method_fade``."""
    steps = recipe.training.steps
    return MethodSchedule(recipe.method_from * steps, recipe.method_until * steps, recipe.method_fade)


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Those of ``SETTINGS`` whose values differ between two fingerprints."""
    return [name for name in SETTINGS if old.get(name) != new.get(name)]


def change(old: Mapping[str, str], new: Mapping[str, str], settings: Training, step: int) -> str:
    """The sentence on a changed schedule for a run that is continued at ``step`` with ``settings``."""
    values = " and ".join(f"{name} was {old.get(name)} and is now {new.get(name)}" for name in changed(old, new))
    places = ", ".join(str(math.ceil(share * settings.steps)) for share in sorted(settings.milestones))
    drops = f", times {settings.gamma:g} after step {places}" if places else ""
    if settings.schedule == "cosine":
        drops = ", falling to zero along half a cosine"
    return (
        f"{values}: from step {step} on, the learning rate is that of a training of {settings.steps} steps "
        f"({settings.lr:g}{drops})"
    )
