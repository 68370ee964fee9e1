"""What older versions wrote about settings, so that their runs continue and their results still count.

Recipes may not set what was removed. Where a default depends on the student's start since, the old default is what it
still is for a student that is not pruned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

REMOVED: Mapping[str, Mapping[str, object]] = {"hkdsr+": {"fsm_norm": "none", "probability": 0.3}}
"""By method and setting, the value that is now always used."""
WERE_DEFAULT: Mapping[str, Mapping[str, object]] = {
    "hkdsr": {"kd_on_intermediate": True},
    "hkdsr+": {"fsm_share": 0.5, "acf_share": 0.5, "affinity_share": 1.0},
}
"""By method and setting, the default before there was one by the student's start, written as None since."""
ADDED: Mapping[str, Mapping[str, object]] = {
    "fakd": {"affinity_every": 1, "affinity_samples": None, "affinity_stored": False},
    "hkdsr": {"exits_every": 1},
    "hkdsr+": {
        "logits_share": None,
        "affinity_every": 1,
        "affinity_samples": None,
        "affinity_stored": False,
        "exits_every": 1,
        "fsm_samples": None,
    },
}
"""By method and setting, the value that stands for what was done before there was the setting."""
ADDED_TO_DISTILLATION: Mapping[str, object] = {
    "target": "auto",
    "teacher_taps": [],
    "teacher_reduce": 1,
    "method_from": 0.0,
    "method_until": 1.0,
    "method_fade": "none",
}
"""What stands for runs of versions without these; ``hkdsr.training.fidelity`` knows those begun without a target."""
ADDED_TO_TRAINING: Mapping[str, object] = {"training.schedule": "milestones", "training.compile": "no"}


def of_today(stored: Mapping[str, str]) -> dict[str, str]:
    """Flat settings (see ``hkdsr.settings.resume``) of an older version as this one writes them.

    A removed setting is left out if it had the value that is now always used. Settings of this version stay.
    """
    found = dict(stored)
    if "training.milestones" in found:
        found = {**{name: json.dumps(value) for name, value in ADDED_TO_TRAINING.items()}, **found}
    method = json.loads(found.get("method.name", "null"))
    if not isinstance(method, str):
        return found
    found = {**{name: json.dumps(value) for name, value in ADDED_TO_DISTILLATION.items()}, **found}

    def of_method(settings: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
        parts = {"method": method} if "," not in method else {f"method.{part}": part for part in method.split(",")}
        return {
            f"{place}.{name}": json.dumps(value)
            for place, part in parts.items()
            for name, value in settings.get(part, {}).items()
        }

    for name, text in of_method(REMOVED).items():
        if found.get(name) == text:
            del found[name]
    if json.loads(found.get("init", "null")) != "prune":
        found |= {name: "null" for name, text in of_method(WERE_DEFAULT).items() if found.get(name) == text}
    return {**of_method(ADDED), **found}
