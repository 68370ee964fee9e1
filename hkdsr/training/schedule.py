"""The learning rate of every step."""

from __future__ import annotations

from hkdsr.settings.recipe import Training


def learning_rate(settings: Training, step: int) -> float:
    """The base rate times ``gamma`` for every milestone (a share of all steps) passed before ``step`` (from 0)."""
    passed = sum(step >= share * settings.steps for share in settings.milestones)
    return settings.lr * settings.gamma**passed
